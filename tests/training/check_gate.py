"""Checks that the gate rejects no more photos than it promises, and every photo without structure."""

import numpy as np

from cropshield import gate

plain = {"mean": [0.0], "scale": [1.0], "weight": [1.0], "bias": 0.0}
random = np.random.default_rng(3)
for count, share in ((1013, 0.005), (384, 0.01), (256, 0.01), (10, 0.005), (200, 0.5)):
    values = random.normal(0, 0.5, (count, 1))
    threshold = gate.threshold(plain, [(values, share)])
    rejected = int((gate.score(plain, values) > threshold).sum())
    assert rejected == int(share * count + 1e-9), f"{rejected} of {count} photos rejected, {share} promised"
both = gate.threshold(plain, [(np.zeros((100, 1)), 0.01), (values, 0.01)])
assert both == gate.threshold(plain, [(values, 0.01)]), "the stricter group decides"
width = len(gate.INPUTS)
fitted = {"mean": [0.0] * width, "scale": [1.0] * width, "weight": [0.0] * width, "bias": -2.0, "threshold": 0.5}
values = np.zeros((4, width))
values[:, gate.INPUTS.index("luma_std")] = np.array([0, 1, 3.999, 4]) / 255
found = gate.score(fitted, values)
assert np.allclose(found[:3], [4.5, 3.5, 0.501]) and found[3] == -2, f"photos without structure: {found}"
print("gate: no photo more than promised, nothing without structure let through")
