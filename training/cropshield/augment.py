"""Owns what the network sees during training: scenes drawn from the cached photos, on the device, a batch at a time.

Lab photos show one leaf on plain paper, and the paper tells the class. So half of the batch is drawn anew: leaves are cut
out and laid over each other on other grounds (photos, noise, out-of-focus foliage of the same crop), at many sizes.
Photos without a leaf mask take part with a soft window instead, so that pasted edges do not tell the crop either. Then
light, colour, blur, sensor noise and JPEG are varied for all alike, and photos are mixed. Negatives of the fit half come
as `outlier`. Where the leaf lies is known for most of what is drawn and comes along, so that training can ask whether the
network looks at it. Everything is tensor arithmetic on uint8 pixels that stay on the device; nothing is decoded here.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .classes import CLASSES, CROP_OF
from .photos import MEAN, STD, CROP, RESIZE
from .prepare import NOT_LEAF, OTHER_LEAF, SHORT_SIDE

CELL = 16  # pixels of the grid on which the leaf's place is given: that of the heat maps
_LAYERS, _FAR_LAYERS = 6, 2  # leaves in a scene; the first ones lie behind and may be out of focus
_SPOTS = 8  # places remembered a photo
_LUMA = ((16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
         (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
         (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99))  # JPEG, annex K.1


def _reflect(position, length):
    return length - (position.remainder(2 * length) - length).abs()


def draw(pixels, offset, height, width, matrix, window, size, reflect):
    """Draws one photo a sample: (B,3,S,S) colour in 0..1 and (B,1,S,S) alpha.

    pixels: packed RGBA int32; offset, height, width: (B,); matrix: (B,6), output pixel -> source pixel.
    window: (B,5) or None: (use, u, v, half width, half height) replaces the mask by a soft window where use is 1.
    reflect: beyond its edges the photo is mirrored; otherwise alpha is 0 there.
    """
    def column(values):
        return values.view(-1, 1, 1)

    axis = torch.arange(size, device=pixels.device, dtype=torch.float32) + 0.5
    x, y = axis.view(1, 1, -1), axis.view(1, -1, 1)
    a, b, c, d, e, f = (column(matrix[:, i]) for i in range(6))
    u, v = a * x + b * y + c, d * x + e * y + f
    wide, high = column(width).float(), column(height).float()
    inside = ((u >= 0) & (u <= wide) & (v >= 0) & (v <= high)).float()
    u_in, v_in = (_reflect(u, wide), _reflect(v, high)) if reflect else (u, v)
    left, top = (u_in - 0.5).floor(), (v_in - 0.5).floor()
    right_share, low_share = u_in - 0.5 - left, v_in - 0.5 - top
    columns, rows = column(width), column(height)
    zero = torch.zeros_like(columns)
    x0 = torch.minimum(torch.maximum(left.long(), zero), columns - 1)
    x1 = torch.minimum(torch.maximum(left.long() + 1, zero), columns - 1)
    y0 = torch.minimum(torch.maximum(top.long(), zero), rows - 1)
    y1 = torch.minimum(torch.maximum(top.long() + 1, zero), rows - 1)
    start = column(offset)
    taps = [pixels[start + yy * columns + xx] for yy, xx in ((y0, x0), (y0, x1), (y1, x0), (y1, x1))]
    shares = [(1 - low_share) * (1 - right_share), (1 - low_share) * right_share,
              low_share * (1 - right_share), low_share * right_share]
    channels = []
    for shift in (0, 8, 16, 24):
        channels.append(sum(share * ((tap >> shift) & 255).float() for tap, share in zip(taps, shares)) / 255)
    colour, alpha = torch.stack(channels[:3], 1), channels[3]
    if window is not None:
        use, centre_u, centre_v, half_u, half_v = (column(window[:, i]) for i in range(5))
        radius = ((u / wide - centre_u) / half_u).abs().pow(3) + ((v / high - centre_v) / half_v).abs().pow(3)
        alpha = torch.where(use > 0, torch.sigmoid(12 * (1 - radius)), alpha)
    return colour, (alpha if reflect else alpha * inside).unsqueeze(1)


def lay(canvas, colour, alpha, shade, shadow):
    """Lays a leaf on the canvas with a soft shadow below right of it; shade, shadow: (B,1,1,1)."""
    spread = torch.roll(F.avg_pool2d(alpha, 13, 1, 6), (4, 3), (2, 3))
    canvas = canvas * (1 - shadow * spread)
    return canvas + alpha * (colour * shade - canvas)


def without_leaf(colour, leaf):
    """A photo whose leaf was taken away: (B,3,S,S) colour and (B,1,S,S) leaf mask -> colour.

    There comes what lies half a frame away, and where that was leaf, too, what lies around it, blurred.
    """
    half, hidden = colour.shape[-1] // 2, F.max_pool2d(leaf, 9, 1, 4)
    coarse = F.avg_pool2d(torch.cat([colour * (1 - hidden), 1 - hidden], 1), 8)
    around = coarse[:, :3].mean((2, 3), keepdim=True) / coarse[:, 3:].mean((2, 3), keepdim=True).clamp(min=1e-3)
    for reach in (17, 9, 3):
        near = F.avg_pool2d(coarse, reach, 1, reach // 2)
        around = around + (8 * near[:, 3:]).clamp(max=1) * (near[:, :3] / near[:, 3:].clamp(min=1e-3) - around)
    around = F.interpolate(around, size=colour.shape[-2:], mode="bilinear", align_corners=False)
    found, missing = colour * (1 - hidden), hidden
    for shift in ((0, half), (half, 0), (half, half)):
        share = missing * (1 - torch.roll(hidden, shift, (2, 3)))
        found, missing = found + share * torch.roll(colour, shift, (2, 3)), missing - share
    return found + missing * around


def soften(image, amount):
    """Blur by (B,1,1,1) amount: 0 none, 1 as if taken at half the size, 2 at a quarter; negative sharpens."""
    size = image.shape[-2:]
    half = F.interpolate(F.avg_pool2d(image, 2), size=size, mode="bilinear", align_corners=False)
    quarter = F.interpolate(F.avg_pool2d(image, 4), size=size, mode="bilinear", align_corners=False)
    first = image + amount.clamp(max=1) * (half - image)
    return first + (amount - 1).clamp(0, 1) * (quarter - half)


def sunlight(image, patches, edge, depth, glare, veil, tone):
    """Light between leaves: shade with edges, glare, a veil of stray light in a tone (B,3,1,1).

    patches: (B,2,G,G) coarse noise that places shade and glare; the others: (B,1,1,1), 0 for none (edge: steepness).
    """
    patches = F.interpolate(patches, size=image.shape[-2:], mode="bicubic", align_corners=False)
    image = image * (1 - depth * torch.sigmoid(edge * patches[:, :1]))
    image = image + glare * torch.sigmoid(edge * (patches[:, 1:] - 1.1)) * (1 - image)
    return image + veil * (tone - image)


def relief(image, leaf, where, bumps, fold, tilt, light, amount):
    """A leaf that lay flat, bent: (B,3,S,S) image and (B,1,S,S) leaf mask -> the same, seen and lit as a curved surface.

    Leaves on the plant hang in folds and waves; most photos show pressed ones.
    Heights, in frames: `bumps` (B,1,G,G), coarse, and a crease, `fold` (B,3,1,1): direction times steepness, place.
    tilt: (B,2,1,1) by how much what is higher is seen elsewhere; light: (B,2,1,1) slope of the light that falls on a flat
    leaf with strength 1; `where` (B,1,S,S) is lit so; amount: (B,1,1,1), 0: flat.
    """
    size = image.shape[-1]
    axis = (torch.arange(size, device=image.device) + 0.5) / size - 0.5
    x, y = axis.view(1, 1, 1, -1), axis.view(1, 1, -1, 1)
    height = F.interpolate(bumps, size=(size, size), mode="bicubic", align_corners=False)
    height = amount * (height + (fold[:, :1] * x + fold[:, 1:2] * y + fold[:, 2:]).abs())
    wide = F.pad(height, (1, 1, 1, 1), mode="replicate")
    slope_x = (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) * (size / 2)
    slope_y = (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) * (size / 2)
    shade = (1 - light[:, :1] * slope_x - light[:, 1:] * slope_y) * torch.rsqrt(1 + slope_x ** 2 + slope_y ** 2)
    image = image * (1 + where * (shade.clamp(0.3, 1.7) - 1))
    height = height - height.mean((2, 3), keepdim=True)
    grid = 2 * torch.cat([x + height * tilt[:, :1], y + height * tilt[:, 1:]], 1).permute(0, 2, 3, 1)
    moved = F.grid_sample(torch.cat([image, leaf], 1), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return moved[:, :3].clamp(0, 1), moved[:, 3:].clamp(0, 1)


def diffuse(image, amount, edge):
    """The surface in soft light, or after a phone's noise reduction: texture goes, what differs by more than `edge` stays.

    A guided filter with the grey image as its guide (He et al., 'Guided image filtering'); amount, edge: (B,1,1,1).
    """
    def mean(values):
        values = F.avg_pool2d(values, (13, 1), 1, (6, 0), count_include_pad=False)  # a seventh of the work of 13 × 13
        return F.avg_pool2d(values, (1, 13), 1, (0, 6), count_include_pad=False)

    grey = image.mean(1, keepdim=True)
    mean_grey, mean_image = mean(grey), mean(image)
    slope = (mean(grey * image) - mean_grey * mean_image) / (mean(grey * grey) - mean_grey ** 2 + edge ** 2)
    smooth = mean(slope) * grey + mean(mean_image - slope * mean_grey)
    return (image + amount * (smooth - image)).clamp(0, 1)


def finish(image, sun, colour_matrix, gain, gamma, light, blur, noise, noise_scale, quality, dct, table):
    """Camera and light: (B,3,S,S) in 0..1 -> the same. Random numbers come in as tensors, so that this can be compiled.

    sun: the arguments of `sunlight` after the image.
    """
    image = sunlight(image, *sun)
    light = F.interpolate(light, size=image.shape[-2:], mode="bicubic", align_corners=False).exp()
    image = (image * light * gain).clamp(1e-4, 1)
    image = image.pow(gamma)
    image = torch.einsum("bij,bjhw->bihw", colour_matrix, image)
    image = soften(image, blur)
    image = (image + noise * noise_scale).clamp(0, 1)
    return jpeg(image, quality, dct, table)


def exchange_spectrum(image, other, share):
    """The image with its amplitudes moved towards those of `other` by (B,1,1,1) share; phases, and so shapes, stay.

    Light, colour, sharpness and grain are in the amplitudes, what a thing is in the phases (Xu et al., 'A Fourier-based
    framework for domain generalization').
    """
    own, foreign = torch.fft.rfft2(image), torch.fft.rfft2(other).abs()
    amplitude = own.abs()
    moved = own * ((amplitude + share * (foreign - amplitude)) / amplitude.clamp(min=1e-4))
    return torch.fft.irfft2(moved, s=image.shape[-2:]).clamp(0, 1)


def jpeg(image, quality, dct, table):
    """The loss of JPEG at (B,1,1,1) quality (above 99: none): chroma at half size, 8x8 DCT, quantisation."""
    red, green, blue = image.mul(255).unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = F.avg_pool2d(torch.stack([(blue - luma) * 0.564, (red - luma) * 0.713], 1), 2)
    planes = torch.cat([luma.unsqueeze(1) - 128, F.interpolate(chroma, scale_factor=2.0, mode="bilinear",
                                                              align_corners=False)], 1)
    count, _, height, width = planes.shape
    blocks = planes.reshape(count, 3, height // 8, 8, width // 8, 8)
    blocks = torch.einsum("ui,bcpiqj,vj->bcpuqv", dct, blocks, dct)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50).clamp(min=0.02)
    step = (table.view(1, 1, 1, 8, 1, 8) * scale.view(-1, 1, 1, 1, 1, 1)).clamp(min=1)
    blocks = (blocks / step).round() * step
    planes = torch.einsum("ui,bcpuqv,vj->bcpiqj", dct, blocks, dct).reshape(count, 3, height, width)
    luma, cb, cr = planes[:, 0] + 128, planes[:, 1], planes[:, 2]
    red, blue = luma + cr / 0.713, luma + cb / 0.564
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    lossy = torch.stack([red, green, blue], 1).div(255).clamp(0, 1)
    return torch.where(quality > 99, image, lossy)


class Batch(NamedTuple):
    """What is learnt from at once."""

    image: torch.Tensor  # (B,3,S,S), normalised
    target: torch.Tensor  # (B,classes), sums to 1
    outlier: torch.Tensor  # (B,) 1 for negatives
    label: torch.Tensor  # (B,) the class whose leaf `leaf` shows; 0 where `placed` is 0
    leaf: torch.Tensor  # (B,1,S/CELL,S/CELL) share of leaf around the centre of a cell
    placed: torch.Tensor  # (B,) 1 where `leaf` is known and the image shows one class alone


class Scenes:
    """Makes batches from a cache. One instance belongs to one device and one thread."""

    def __init__(self, cache, device, seed=0, compiled=False):
        self.device = torch.device(device)
        self.random = torch.Generator(self.device).manual_seed(seed)
        entries = cache.index["train"]
        self.pixels = torch.from_numpy(cache.pixels()).to(self.device)
        self.levels = torch.tensor([entry["levels"] for entry in entries], device=self.device)  # (N, levels, 3)
        self.masked = torch.tensor([bool(entry["mask"]) for entry in entries], device=self.device)
        labels = [entry["label"] for entry in entries]
        self.groups = {}
        for label in sorted(set(labels)):
            members = [i for i, other in enumerate(labels) if other == label]
            self.groups[label] = members
        count = torch.tensor([float(len(self.groups.get(c, ()))) for c in range(len(CLASSES))])
        self.tested = (count > 0).nonzero().flatten().to(self.device)
        self.class_weight = count.sqrt().to(self.device)
        # One row a class, then the two kinds of negatives, so that "any photo of label c" is one gather.
        rows = [self.groups.get(c) or [0] for c in range(len(CLASSES))]
        rows += [self.groups.get(NOT_LEAF) or [0], self.groups.get(OTHER_LEAF) or [0]]
        self.not_leaf, self.other_leaf = len(CLASSES), len(CLASSES) + 1
        self.has_negatives = NOT_LEAF in self.groups and OTHER_LEAF in self.groups
        crops = sorted(set(CROP_OF))
        bare = [[i for i, entry in enumerate(entries) if entry["mask"] and labels[i] >= 0 and CROP_OF[labels[i]] == crop]
                for crop in crops]
        # Behind the negatives one row a crop whose photos have a mask: grounds without their leaf.
        self.bare_rows = torch.arange(len(rows), len(rows) + sum(map(bool, bare)), device=self.device)
        first, rows = len(rows), rows + [row for row in bare if row]
        bare_of = {crop: first + i for i, crop in enumerate(c for c, row in zip(crops, bare) if row)}
        self.bare_of = torch.tensor([bare_of.get(crop, -1) for crop in CROP_OF] + [-1, -1], device=self.device)
        self.row_count = torch.tensor([len(row) for row in rows], device=self.device)
        longest = max(len(row) for row in rows)
        self.rows = torch.tensor([(row * (longest // len(row) + 1))[:longest] for row in rows], device=self.device)
        healthy = [next((i for i, n in enumerate(CLASSES) if CROP_OF[i] == crop and n.endswith("healthy")), None)
                   for crop in CROP_OF]
        present = set(self.tested.tolist())
        self.healthy = torch.tensor([h if h in present else i for i, h in enumerate(healthy)], device=self.device)
        frequency = torch.arange(8, dtype=torch.float32).view(-1, 1)
        dct = torch.cos(math.pi / 8 * frequency * (torch.arange(8, dtype=torch.float32) + 0.5)) / 2
        dct[0] /= math.sqrt(2)
        self.dct, self.table = dct.to(self.device), torch.tensor(_LUMA, dtype=torch.float32, device=self.device)
        wrap = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
        self._draw, self._lay, self._soften, self._finish = wrap(draw), wrap(lay), wrap(soften), wrap(finish)
        self._relief = wrap(relief)
        # Not compiled: with 512 images of 160 pixels a run (torch 2.11, H200) ended at an illegal address, reported by its kernel.
        self._without_leaf = without_leaf
        self._diffuse = wrap(diffuse)

        self._measure_styles(entries)
        self._find_spots(entries)

    def _find_spots(self, entries):
        """Places on every leaf that are redder than the leaf mostly is, where it has its spots: (N,_SPOTS,2), 0..1.

        A photo cut near the spots shows what it was labelled for; cut anywhere, it would teach the surroundings instead.
        """
        self.spots = torch.full((len(entries), _SPOTS, 2), 0.5, device=self.device)
        self.spotted = torch.zeros(len(entries), dtype=torch.bool, device=self.device)
        for photo, entry in enumerate(entries):
            offset, height, width = entry["levels"][-1]
            packed = self.pixels[offset:offset + height * width]
            leaf = (((packed >> 24) & 255) > 250).nonzero().flatten()  # not its edge, which has the paper's colour in it
            if not entry["mask"] or len(leaf) < _SPOTS:
                continue
            red, green, blue = ((packed[leaf] >> shift & 255).float() + 24 for shift in (0, 8, 16))  # dark is no colour
            redness = (red - green) / (red + green + blue)
            weight = (redness - redness.median()).clamp(min=0).pow(3) + 1e-9
            place = leaf[torch.multinomial(weight, _SPOTS, replacement=True, generator=self.random)]
            self.spots[photo, :, 0] = (place % width + 0.5) / width
            self.spots[photo, :, 1] = (place // width + 0.5) / height
            self.spotted[photo] = True

    def _measure_styles(self, entries):
        """Mean and deviation of the colours of every healthy leaf: what light and camera do, apart from disease.

        Leaves of other crops count too: theirs were taken outdoors, in light that the supported crops' photos lack.
        """
        self.style_rows = self.healthy.unique()
        if self.has_negatives:
            self.style_rows = torch.cat([self.style_rows, torch.full((1,), self.other_leaf, device=self.device)])
        rows = self.rows[self.style_rows]
        photos = rows.flatten().unique().tolist()
        style = torch.zeros(len(entries), 2, 3, device=self.device)
        for photo in photos:
            offset, height, width = entries[photo]["levels"][-1]
            packed = self.pixels[offset:offset + height * width]
            colour = torch.stack([(packed >> shift) & 255 for shift in (0, 8, 16)], 1).float() / 255
            if entries[photo]["mask"]:
                colour = colour[((packed >> 24) & 255) > 127]
            style[photo, 0], style[photo, 1] = colour.mean(0), colour.std(0).clamp(min=0.02)
        self.style = style

    def restyle(self, image, label, chance):
        """Some photos as if light and camera were those under which another crop was photographed.

        The map is the one that takes a healthy leaf of the own crop to a healthy leaf of another: sources differ by
        crop, so without this the camera tells the crop.
        """
        count = len(image)
        own = self._pick(self.healthy[label.clamp(max=len(CLASSES) - 1)])
        other_row = self.style_rows[(self._uniform(count) * len(self.style_rows)).long()
                                    .clamp(max=len(self.style_rows) - 1)]
        own, other = self.style[own], self.style[self._pick(other_row)]
        share = (self._uniform(count) * self._flag(count, chance)).view(-1, 1, 1, 1)
        gain = (other[:, 1] / own[:, 1]).clamp(0.5, 2.0).view(-1, 3, 1, 1)
        changed = (image - own[:, 0].view(-1, 3, 1, 1)) * gain + other[:, 0].view(-1, 3, 1, 1)
        return (image + share * (changed - image)).clamp(0, 1)

    def _exchange_spectra(self, image, inside, chance):
        """Some photos with the amplitudes of another of the batch; those of negatives, often outdoors, are preferred."""
        count = len(image)
        any_photo = self._uniform(count, 0, count)
        if inside < count:
            any_photo = torch.where(self._flag(count, 0.4), self._uniform(count, inside, count), any_photo)
        share = (self._uniform(count) * self._flag(count, chance)).view(-1, 1, 1, 1)
        return exchange_spectrum(image, image[any_photo.long().clamp(max=count - 1)], share)

    # Random numbers -------------------------------------------------------------------------------------------------

    def _uniform(self, count, low=0.0, high=1.0):
        return torch.rand(count, generator=self.random, device=self.device) * (high - low) + low

    def _normal(self, *shape):
        return torch.randn(*shape, generator=self.random, device=self.device)

    def _flag(self, count, chance):
        return self._uniform(count) < chance

    def _pick(self, rows):
        """A random photo of each row (class or kind of negative)."""
        which = (self._uniform(len(rows)) * self.row_count[rows]).long()
        return self.rows[rows, torch.minimum(which, self.row_count[rows] - 1)]

    def _spot(self, photo):
        """A random spot of each photo; the middle where none is known."""
        return self.spots[photo, (self._uniform(len(photo)) * _SPOTS).long().clamp(max=_SPOTS - 1)]

    # Geometry -------------------------------------------------------------------------------------------------------

    def _turn(self, count, turned):
        """Rotation (free for that share, else slight), mirror and stretch: (B,2,2), output direction -> source direction."""
        angle = torch.where(self._flag(count, turned), self._uniform(count, -math.pi, math.pi),
                            self._uniform(count, -0.25, 0.25))
        mirror = torch.where(self._flag(count, 0.5), -1.0, 1.0)
        stretch = self._uniform(count, -0.18, 0.18).exp()
        shear = self._uniform(count, -0.15, 0.15)
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack([torch.stack([cos * mirror * stretch, -sin + shear], 1),
                            torch.stack([sin * mirror, cos / stretch], 1)], 1)
        return turn

    def _locate(self, photo, turn, step, source_centre, output_centre):
        """Chooses the cached scale and builds the matrix of `draw`; step: source pixels of scale 0 an output pixel."""
        level = step.clamp(min=1e-3).log2().round().clamp(0, self.levels.shape[1] - 1).long()
        table = self.levels[photo, level]
        offset, height, width = table[:, 0], table[:, 1], table[:, 2]
        linear = turn * (step / 2.0 ** level).view(-1, 1, 1)
        centre = source_centre * torch.stack([width, height], 1)
        shift = centre - torch.einsum("bij,bj->bi", linear, output_centre)
        matrix = torch.cat([linear[:, 0], shift[:, :1], linear[:, 1], shift[:, 1:]], 1)
        return offset, height, width, matrix

    def _whole(self, photo, size, turned, nearest, widest=1.12, spots=0.0):
        """A photo as a grower might have framed it: magnification against the evaluation's scale, any part of it.

        nearest: largest magnification, one for all or (B,); spots: share that is cut round a spot of the leaf.
        Returns (colour, leaf mask); the mask is 0 where the photo has none.
        """
        count = len(photo)
        unit = SHORT_SIDE / RESIZE  # source pixels an output pixel where the evaluation looks
        low = max(0.55, size * unit / (widest * SHORT_SIDE))
        nearest = torch.as_tensor(nearest, dtype=torch.float32, device=self.device)
        zoom = self._uniform(count, math.log(low), nearest.log()).exp()
        step = unit / zoom
        shape = self.levels[photo, 0][:, 1:].flip(1).float()  # width, height
        slack = (1 - size * step.unsqueeze(1) / shape).clamp(min=0.08)
        centre = 0.5 + (torch.rand(count, 2, generator=self.random, device=self.device) - 0.5) * slack
        if spots > 0:
            spot = self._spot(photo)
            view = (size * step.unsqueeze(1) / shape).clamp(max=1)
            spot = spot + (torch.rand(count, 2, generator=self.random, device=self.device) - 0.5) * 0.6 * view
            spot = torch.minimum(torch.maximum(spot, view / 2), 1 - view / 2)
            centre = torch.where((self.spotted[photo] & self._flag(count, spots)).unsqueeze(1), spot, centre)
        middle = torch.full((count, 2), size / 2, device=self.device)
        place = self._locate(photo, self._turn(count, turned), step, centre, middle)
        return self._draw(self.pixels, *place, None, size, True)

    def _leaf(self, photo, size, turned, smallest, largest, wander, spots):
        """One cut-out leaf a sample, its photo `smallest`..`largest` of the frame wide; wander: (B,) reach of its middle.

        spots: share of which a spot is the middle.
        """
        count = len(photo)
        span = self._uniform(count, math.log(smallest), math.log(largest)).exp()
        centre = torch.full((count, 2), 0.5, device=self.device)
        if spots > 0:
            centre = torch.where(self._flag(count, spots).unsqueeze(1), self._spot(photo), centre)
        position = (0.5 + (torch.rand(count, 2, generator=self.random, device=self.device) - 0.5)
                    * wander.view(-1, 1)) * size
        place = self._locate(photo, self._turn(count, turned), SHORT_SIDE / (span * size), centre, position)
        half = torch.rand(count, 2, generator=self.random, device=self.device)
        window = torch.stack([(~self.masked[photo]).float(), self._uniform(count, 0.4, 0.6),
                              self._uniform(count, 0.4, 0.6), 0.2 + 0.3 * half[:, 0], 0.25 + 0.25 * half[:, 1]], 1)
        return self._draw(self.pixels, *place, window, size, False)

    # Scenes ---------------------------------------------------------------------------------------------------------

    def _noise_ground(self, count, size):
        """Colour noise of several grain sizes in a random, mostly earthy or green tone."""
        tone = torch.rand(count, 3, 1, 1, generator=self.random, device=self.device)
        earthy = torch.tensor([0.45, 0.40, 0.28], device=self.device).view(1, 3, 1, 1) * (0.4 + 1.2 * tone[:, :1])
        earthy = earthy + torch.tensor([-0.1, 0.1, -0.05], device=self.device).view(1, 3, 1, 1) * tone[:, 1:2]
        ground = torch.where(self._flag(count, 0.6).view(-1, 1, 1, 1), earthy, tone)
        for grain in (3, 8, 24, size // 2):
            grey = self._normal(count, 1, grain, grain) * 0.8 + self._normal(count, 3, grain, grain) * 0.3
            strength = self._uniform(count, 0.0, 0.16).view(-1, 1, 1, 1)
            ground = ground + strength * F.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
        return ground.clamp(0, 1)

    def _bare_row(self, label):
        """The rows of photos to take grounds without their leaf from: mostly of the same crop.

        Photos of one class share their surroundings (dry cane round red rot): this gives every class those of the others.
        """
        count = len(label)
        own = self.bare_of[label]
        row = self.bare_rows[(self._uniform(count) * len(self.bare_rows)).long().clamp(max=len(self.bare_rows) - 1)]
        return torch.where(self._flag(count, 0.6) & (own >= 0), own, row)

    def _move(self, image, leaf, label, known, share, turned):
        """Some photos whose leaf is known, the leaf where it was, before another ground: framed as in a true photo.

        The ground is another photo's without its leaf, a photo of objects, or blurred foliage of another crop.
        """
        count = len(label)
        moved, choice, row = known & self._flag(count, share), self._uniform(count), self._bare_row(label)
        if self.has_negatives:
            row = torch.where(choice < 0.15, self.not_leaf, torch.where(choice < 0.3, self.other_leaf, row))
        ground, other = self._whole(self._pick(row), image.shape[-1], turned, 1.6)
        ground = self._without_leaf(ground, other * (row > self.other_leaf).view(-1, 1, 1, 1))
        foliage = (row == self.other_leaf).float()
        ground = self._soften(ground, (foliage * self._uniform(count, 1.0, 2.0)).view(-1, 1, 1, 1))
        return image + moved.view(-1, 1, 1, 1) * (1 - leaf) * (ground - image)

    def _scene(self, label, size, turned, bare, spots):
        """Leaves of `label` (and healthy ones of its crop) over each other on a ground: (colour, where `label` may show).

        Where the ground is a whole photo of `label`, its leaf's place is not told: then that is the whole ground.
        """
        count = len(label)
        same_crop = torch.where(self._flag(count, 0.5), label.clamp(max=len(CLASSES) - 1),
                                self.healthy[label.clamp(max=len(CLASSES) - 1)])
        same_crop = torch.where(label < len(CLASSES), same_crop, label)
        any_class = torch.multinomial(self.class_weight, count, replacement=True, generator=self.random)
        choice = self._uniform(count)
        if bare > 0 and len(self.bare_rows):
            bare, bare_row = self._flag(count, bare), self._bare_row(label)
            choice = torch.where(bare, 0.3, choice)  # the ground competes with nothing
        else:
            bare = None
        foliage = choice < 0.15  # of crops that are not supported, mostly outdoors
        ground_row = torch.where(choice < 0.4, torch.full_like(label, self.not_leaf if self.has_negatives else 0),
                                 torch.where(choice < 0.52, any_class, same_crop))
        ground_row = torch.where(foliage, torch.full_like(label, self.other_leaf), ground_row)
        if not self.has_negatives:
            ground_row = torch.where(choice < 0.4, any_class, ground_row)
        if bare is None:
            canvas = self._whole(self._pick(ground_row), size, turned, 4.0)[0]
        else:
            ground_photo = self._pick(torch.where(bare, bare_row, ground_row))
            canvas, leaf = self._whole(ground_photo, size, turned, torch.where(bare, 1.6, 4.0))
            canvas = torch.where(bare.view(-1, 1, 1, 1), self._without_leaf(canvas, leaf), canvas)
            ground_row = torch.where(bare, torch.full_like(ground_row, -1), ground_row)
        canvas = torch.where((choice > 0.72).view(-1, 1, 1, 1), self._noise_ground(count, size), canvas)
        shown = ((ground_row == label) & (choice <= 0.72)).float().view(-1, 1, 1, 1).expand(-1, 1, size, size)
        foreign = (foliage | ((choice >= 0.4) & (choice < 0.52))).float()  # a ground that shows another leaf must not compete
        canvas = self._soften(canvas, (foreign + self._uniform(count, -0.3, 1.7)).clamp(0, 2).view(-1, 1, 1, 1))
        canvas = canvas * self._uniform(count, 0.45, 1.1).view(-1, 1, 1, 1)
        crowd = self._uniform(count)  # how likely each further leaf is: from one leaf alone to foliage
        for layer in range(_LAYERS):
            top = layer == _LAYERS - 1
            row = label if top else torch.where(self._flag(count, 0.6), label, torch.where(
                label < len(CLASSES), self.healthy[label.clamp(max=len(CLASSES) - 1)], label))
            photo = self._pick(row)
            wander = torch.full((count,), 0.6 if top else 1.1, device=self.device)
            colour, alpha = self._leaf(photo, size, turned, 0.45 if top else 0.3, 1.5 if top else 1.1, wander,
                                       spots)
            shade = self._uniform(count, 0.85, 1.15) if top else self._uniform(count, 0.55, 1.1)
            if not top:
                alpha = alpha * (self._uniform(count) < crowd).float().view(-1, 1, 1, 1)
            shadow = self._uniform(count, 0.0, 0.7).view(-1, 1, 1, 1)
            canvas = self._lay(canvas, colour, alpha, shade.view(-1, 1, 1, 1), shadow)
            shown = shown + alpha * ((row == label).float().view(-1, 1, 1, 1) - shown)
            if layer == _FAR_LAYERS - 1:
                canvas = self._soften(canvas, self._uniform(count, -1.0, 2.0).clamp(min=0).view(-1, 1, 1, 1))
        exposure = self._uniform(count, 0.28, 0.6) / canvas.mean((1, 2, 3)).clamp(min=0.02)
        return (canvas * exposure.clamp(0.6, 2.2).view(-1, 1, 1, 1)).clamp(0, 1), shown

    def _sun(self, count, chance):
        """Random arguments of `sunlight`; every effect takes part in `chance` of the images."""
        def some(low, high):
            return (self._uniform(count, low, high) * self._flag(count, chance)).view(-1, 1, 1, 1)

        patches = F.interpolate(self._normal(count, 2, 4, 4), size=(14, 14), mode="bicubic", align_corners=False)
        patches = patches + 0.35 * self._normal(count, 2, 14, 14)  # mostly larger than lesions are
        edge = self._uniform(count, 1.0, 14.0).view(-1, 1, 1, 1)
        tone = torch.rand(count, 3, 1, 1, generator=self.random, device=self.device) * 0.4 + 0.5
        return patches, edge, some(0.1, 0.6), some(0.1, 0.5), some(0.0, 0.3), tone

    def _bend(self, image, leaf, known, chance):
        """Some images with their leaves bent: (image, leaf). What is not known to be leaf is mostly left as it was lit."""
        count = len(image)

        def towards(longest):
            angle, length = self._uniform(count, -math.pi, math.pi), self._uniform(count, 0.0, longest)
            return torch.stack([angle.cos() * length, angle.sin() * length], 1).view(-1, 2, 1, 1)

        amount = self._flag(count, chance).float().view(-1, 1, 1, 1)
        bumps = self._normal(count, 1, 6, 6) * self._uniform(count, 0.0, 0.06).view(-1, 1, 1, 1)
        fold = torch.cat([towards(0.7), self._uniform(count, -0.15, 0.15).view(-1, 1, 1, 1)], 1)
        where = torch.where((known & self._flag(count, 0.7)).view(-1, 1, 1, 1), leaf, torch.ones_like(leaf))
        return self._relief(image, leaf, where, bumps, fold, towards(0.8), towards(1.2), amount)

    def _camera(self, image, strength, colour, sun):
        count, size = len(image), image.shape[-1]

        def spread(amount):
            return self._normal(count) * (amount * strength)

        saturation = spread(0.30 * colour).exp().clamp(0.3 / colour, 2.2).view(-1, 1, 1)
        luma = torch.tensor([0.299, 0.587, 0.114], device=self.device).expand(1, 3, 3)
        identity = torch.eye(3, device=self.device).unsqueeze(0)
        angle = spread(0.10 * colour)
        hue = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
        to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]],
                              device=self.device)
        rotation = torch.zeros(count, 3, 3, device=self.device)
        rotation[:, 0, 0] = 1
        rotation[:, 1:, 1:] = hue
        rotation = torch.linalg.inv(to_yiq) @ rotation @ to_yiq
        matrix = (saturation * identity + (1 - saturation) * luma) @ rotation
        tint = self._normal(count, 3, 1, 1) * (0.10 * strength * colour)
        gain = (tint + (spread(0.30) - 0.05).view(-1, 1, 1, 1)).exp()
        gamma = spread(0.22).exp().view(-1, 1, 1, 1)
        light = self._normal(count, 1, 4, 4) * self._uniform(count, 0.0, 0.35 * strength).view(-1, 1, 1, 1)
        blur = torch.where(self._flag(count, 0.35), self._uniform(count, -0.7, 1.6), torch.zeros((), device=self.device))
        noise_scale = torch.where(self._flag(count, 0.4), self._uniform(count, 0.0, 0.05), torch.zeros((), device=self.device))
        quality = torch.where(self._flag(count, 0.5), self._uniform(count, 25, 95), torch.full((), 100.0, device=self.device))
        noise = self._normal(count, 3, size, size)

        def column(values):
            return values.view(-1, 1, 1, 1)

        return self._finish(image, self._sun(count, sun), matrix, gain, gamma, light, column(blur * strength), noise, column(noise_scale),
                            column(quality), self.dct, self.table)

    def _mix(self, image, target, chance):
        """Cut-mix and mix-up among in-distribution samples, and erasing: (image, target, whether it shows two photos)."""
        count, _, size, _ = image.shape
        order = torch.randperm(count, generator=self.random, device=self.device)
        kind = self._uniform(count)
        cut, blend = kind < 0.7 * chance, (kind >= 0.7 * chance) & (kind < chance)
        erase = self._flag(count, 0.2)
        area = torch.where(cut, self._uniform(count, 0.05, 0.6), self._uniform(count, 0.02, 0.2)).sqrt()
        stretch = self._uniform(count, -0.5, 0.5).exp()
        axis = (torch.arange(size, device=self.device) + 0.5) / size
        column = (axis.view(1, -1) - self._uniform(count).view(-1, 1)).abs() * 2 < (area * stretch).view(-1, 1)
        row = (axis.view(1, -1) - self._uniform(count).view(-1, 1)).abs() * 2 < (area / stretch).view(-1, 1)
        box = (row.unsqueeze(2) & column.unsqueeze(1)).float()
        share = torch.where(blend, self._uniform(count, 0.05, 0.5), torch.zeros((), device=self.device))
        other = torch.where(cut, box.mean((1, 2)), share)
        weight = torch.where(cut.view(-1, 1, 1), box, share.view(-1, 1, 1).expand_as(box)).unsqueeze(1)
        image_mixed = image + weight * (image[order] - image)
        hide = box * (erase & ~cut & ~blend).view(-1, 1, 1).float()
        fill = torch.rand(count, 3, 1, 1, generator=self.random, device=self.device)
        image_mixed = image_mixed + hide.unsqueeze(1) * (fill - image_mixed)
        return image_mixed, target + other.view(-1, 1) * (target[order] - target), cut | blend

    def _pictures(self, count, size, scenes, outliers, turned, nearest, bare, moved, spots):
        """What is shown, before light and camera: images, labels of the supported ones (they come first), leaf, known."""
        out_count = int(round(count * outliers)) if self.has_negatives else 0
        scene_count = int(round(count * scenes))
        photo_count = count - scene_count - out_count
        out_scene, out_photo = out_count // 4, out_count - out_count // 4
        label = torch.multinomial(self.class_weight, photo_count + scene_count, replacement=True,
                                  generator=self.random)
        out_row = torch.where(self._flag(out_photo, 0.55), torch.full((), self.not_leaf, device=self.device),
                              torch.full((), self.other_leaf, device=self.device))
        photo = self._pick(torch.cat([label[:photo_count], out_row]))
        scene_rows = torch.cat([label[photo_count:], torch.full((out_scene,), self.other_leaf, device=self.device)])
        photo_image, photo_leaf = self._whole(photo, size, turned, nearest, spots=spots)
        if moved > 0 and len(self.bare_rows):
            photo_image = self._move(photo_image, photo_leaf, torch.cat([label[:photo_count], out_row]), self.masked[photo],
                                     moved, turned)
        scene_image, scene_leaf = (self._scene(scene_rows, size, turned, bare, spots) if len(scene_rows) else
                                   (photo_image[:0], photo_leaf[:0]))

        def joined(photos, drawn):
            return torch.cat([photos[:photo_count], drawn[:scene_count], photos[photo_count:], drawn[scene_count:]])

        known = joined(self.masked[photo], torch.ones(len(scene_rows), dtype=torch.bool, device=self.device))
        return joined(photo_image, scene_image), label, joined(photo_leaf, scene_leaf), known

    @torch.no_grad()
    def batch(self, count, size=CROP, scenes=0.4, outliers=0.1, mix=0.4, strength=1.0, smoothing=0.05, restyle=0.0,
              colour=1.0, sun=0.0, spectrum=0.0, turned=0.5, nearest=1.7, bare=0.0, moved=0.0,
              spots=0.0, relief=0.0, surface=0.0):
        """Draws `count` images (a `Batch`).

        scenes, outliers: shares of the batch; mix, restyle, sun, spectrum, relief, surface: chances (surface: of texture that goes);
        strength: how much light and camera vary, colour: how much more than that colours do; turned: share that is turned freely; nearest: largest magnification of a photo;
        bare: share of the scenes whose ground is a photo without its leaf; moved: share of the photos that get another ground;
        spots: share of the photos and leaves that are cut round a spot.
        """
        image, label, leaf, known = self._pictures(count, size, scenes, outliers, turned, nearest, bare, moved, spots)
        inside = len(label)
        if relief > 0:
            image, leaf = self._bend(image, leaf, known, relief)
        if restyle > 0:
            any_class = torch.multinomial(self.class_weight, count, replacement=True, generator=self.random)
            image = self.restyle(image, torch.cat([label, any_class[inside:]]), restyle)
        if spectrum > 0:
            image = self._exchange_spectra(image, inside, spectrum)
        if surface > 0:
            amount = self._uniform(count, 0.4, 1.4).clamp(max=1) * self._flag(count, surface)
            edge = self._uniform(count, math.log(0.03), math.log(0.2)).exp()
            image = self._diffuse(image, amount.view(-1, 1, 1, 1), edge.view(-1, 1, 1, 1))
        image = self._camera(image, strength, colour, sun)
        target = torch.zeros(count, len(CLASSES), device=self.device)
        even = torch.zeros(len(CLASSES), device=self.device)
        even[self.tested] = 1.0 / len(self.tested)
        target[:inside] = F.one_hot(label, len(CLASSES)).float() * (1 - smoothing) + even * smoothing
        target[inside:] = even
        if mix > 0:
            mixed, mixed_target, two = self._mix(image[:inside], target[:inside], mix)
            image, target = torch.cat([mixed, image[inside:]]), torch.cat([mixed_target, target[inside:]])
            known[:inside] &= ~two
        known[inside:] = False
        outlier = torch.zeros(count, device=self.device)
        outlier[inside:] = 1
        mean = torch.tensor(MEAN, device=self.device).view(1, 3, 1, 1)
        std = torch.tensor(STD, device=self.device).view(1, 3, 1, 1)
        # A heat map is drawn bilinearly, so a cell reaches one cell far: a triangle, that is two boxes.
        leaf = F.avg_pool2d(F.avg_pool2d(leaf, CELL + 1, 1, CELL // 2, count_include_pad=False), CELL)
        label = torch.cat([label, torch.zeros(count - inside, dtype=label.dtype, device=self.device)])
        return Batch((image - mean) / std, target, outlier, label, leaf, known.float())

    def batches(self, times, count, **recipe):
        """`times` batches of `count`, drawn together: on a GPU the launches, not the pixels, are what costs time."""
        drawn = self.batch(times * count, **recipe)
        for start in range(times):  # every batch gets its share of photos, scenes and outliers
            yield Batch(*(part[start::times] for part in drawn))
