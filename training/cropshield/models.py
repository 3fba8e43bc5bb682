"""Owns the networks: the reference network, its small sibling, and the teacher that is only used for training.

Every network maps (B, 3, H, W) normalised images to `heads(x)` = (logits (B, classes), reject logit (B,)): class
outputs, and one number that grows with how little the photo looks like a leaf of a supported crop. Both are linear in
`features(x)` (B, d), the mean of the last activations, which `observe(x)` gives besides and of which `explain(x, label)` makes
the heat map of a class. Does not know about data, losses or files.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class _Classifier(nn.Module):
    """What the networks share: pooled features, the class outputs, the reject output."""

    def features(self, x):
        return self.activations(x).float().mean((2, 3))

    def heads(self, x):
        features = self.features(x)
        return self.classifier(features), self.reject(features).squeeze(1)

    def observe(self, x):
        """(logits, reject, last activations (B, d, h, w))."""
        active = self.activations(x).float()
        features = active.mean((2, 3))
        return self.classifier(features), self.reject(features).squeeze(1), active

    def explain(self, x, label):
        """`observe`, and Grad-CAM of the classes `label` before scaling: (B, h, w), not negative."""
        logits, reject, active = self.observe(x)
        weight = self.classifier[-1].weight[label]
        return logits, reject, active, F.relu(torch.einsum("bchw,bc->bhw", active, weight))

    def forward(self, x):
        return self.classifier(self.features(x))


def mix_styles(x, chance):
    """Some samples with mean and deviation of their channels moved towards those of another sample of the batch.

    Zhou et al., 'Domain generalization with MixStyle'; for training, in early layers, where they tell the camera.
    """
    values = x.float()
    mean = values.mean((2, 3), keepdim=True).detach()
    deviation = (values.var((2, 3), keepdim=True) + 1e-5).sqrt().detach()
    order = torch.randperm(len(x), device=x.device)
    share = torch.rand(len(x), 1, 1, 1, device=x.device) * (torch.rand(len(x), 1, 1, 1, device=x.device) < chance)
    mixed = (values - mean) / deviation * (deviation + share * (deviation[order] - deviation))
    return (mixed + mean + share * (mean[order] - mean)).to(x.dtype)


class CropShieldCNN(_Classifier):
    """The reference network: 4 blocks of two 3x3 convolutions, 4.7 M parameters, 10.26 GMAC at 224x224.

    Tensor names and shapes are fixed: they are those of the published `state_dict` (plus `reject.*`).
    """

    def __init__(self, num_classes=22, dropout=0.1, block_dropout=0.0, mix_style=0.0):
        super().__init__()
        self.mix_style = mix_style
        widths = [3, 64, 128, 256, 512]
        for i in range(4):
            a, b = widths[i], widths[i + 1]
            setattr(self, f"block{i + 1}", nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
                nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
                nn.MaxPool2d(2, 2), nn.Dropout2d(block_dropout)))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(512, num_classes))
        self.reject = nn.Linear(512, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def activations(self, x):
        mix = self.training and self.mix_style > 0
        for block in (self.block1, self.block2):
            x = block(x)
            x = mix_styles(x, self.mix_style) if mix else x
        return self.block4(self.block3(x))


def _folded(convolution, norm):
    """(weight, bias) of a convolution without bias followed by batch normalisation, in float64."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return convolution.weight.double() * scale.view(-1, 1, 1, 1), norm.bias.double() - norm.running_mean.double() * scale


class RepConvolution(nn.Module):
    """3x3 convolution + ReLU that is trained as 3x3, 1x1 and identity branches and exported as one 3x3 convolution."""

    def __init__(self, inputs, outputs, stride=1, kernel=3):
        super().__init__()
        self.stride, self.kernel = stride, kernel
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        if kernel == 3:
            self.point = nn.Conv2d(inputs, outputs, 1, stride, 0, bias=False)
            self.point_norm = nn.BatchNorm2d(outputs)
        if kernel == 3 and stride == 1 and inputs == outputs:
            self.identity_norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = self.norm(self.conv(x))
        if self.kernel == 3:
            y = y + self.point_norm(self.point(x))
        if hasattr(self, "identity_norm"):
            y = y + self.identity_norm(x)
        return F.relu(y)

    def fold(self):
        """(weight, bias) in float32 of the one convolution that does the same."""
        weight, bias = _folded(self.conv, self.norm)
        if self.kernel == 3:
            point, point_bias = _folded(self.point, self.point_norm)
            weight, bias = weight + F.pad(point, [1, 1, 1, 1]), bias + point_bias
        if hasattr(self, "identity_norm"):
            norm = self.identity_norm
            scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            one = torch.zeros_like(weight)
            index = torch.arange(len(scale))
            one[index, index, 1, 1] = scale
            weight, bias = weight + one, bias + norm.bias.double() - norm.running_mean.double() * scale
        return weight.float(), bias.float()


class CropShieldLite(_Classifier):
    """The small network: plain 3x3 convolutions to 14x14, one 1x1 convolution to 512 channels; 1.7 M parameters, 0.56 GMAC."""

    STAGES = ((16, 1), (32, 3), (96, 4), (160, 6))  # (channels, layers); the first layer of each has stride 2

    def __init__(self, num_classes=22, dropout=0.1, stages=STAGES, head=512):
        super().__init__()
        layers, width = [], 3
        for channels, count in stages:
            for i in range(count):
                layers.append(RepConvolution(width, channels, 2 if i == 0 else 1))
                width = channels
        layers.append(RepConvolution(width, head, kernel=1))
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(head, num_classes))
        self.reject = nn.Linear(head, 1)

    def activations(self, x):
        return self.layers(x)


class PlainLite(_Classifier):
    """CropShieldLite as it is exported: convolutions with bias and ReLU. `layers` is a list of (in, out, kernel, stride)."""

    def __init__(self, num_classes, layers):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(a, b, k, s, k // 2) for a, b, k, s in layers))
        self.classifier = nn.Sequential(nn.Identity(), nn.Linear(layers[-1][1], num_classes))
        self.reject = nn.Linear(layers[-1][1], 1)

    @staticmethod
    def of(network):
        """The plain network that computes what the trained CropShieldLite computes in evaluation mode."""
        shapes = [(m.conv.in_channels, m.conv.out_channels, m.kernel, m.stride) for m in network.layers]
        plain = PlainLite(network.classifier[1].out_features, shapes).eval()
        with torch.no_grad():
            for source, target in zip(network.layers, plain.layers):
                weight, bias = source.fold()
                target.weight.copy_(weight)
                target.bias.copy_(bias)
            plain.classifier[1].load_state_dict(network.classifier[1].state_dict())
            plain.reject.load_state_dict(network.reject.state_dict())
        return plain

    def activations(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


class _Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        nn.init.zeros_(self.body[4].weight)
        self.skip = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.AvgPool2d(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity(),
                                      nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return F.relu(self.body(x) + self.skip(x))


class Teacher(_Classifier):
    """A residual network (He et al., with the stem and skips of 'Bag of Tricks'), never exported: it teaches the others."""

    def __init__(self, num_classes=22, dropout=0.2, widths=(64, 128, 256, 384), depths=(3, 4, 6, 3)):
        super().__init__()
        stem = []
        for a, b, stride in ((3, 32, 2), (32, 32, 1), (32, widths[0], 1)):
            stem += [nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))
        blocks, width = [], widths[0]
        for stage, (channels, count) in enumerate(zip(widths, depths)):
            for i in range(count):
                blocks.append(_Residual(width, channels, 2 if i == 0 and stage > 0 else 1))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_classes))
        self.reject = nn.Linear(width, 1)

    def activations(self, x):
        return self.blocks(self.stem(x))


ARCHITECTURES = {"CropShieldCNN": CropShieldCNN, "CropShieldLite": CropShieldLite, "PlainLite": PlainLite, "Teacher": Teacher}
