"""Checks that a guide is imitated everywhere but off a leaf whose place is known."""
import torch

from cropshield.train import _apart

torch.manual_seed(5)
shown = torch.rand(2, 8, 14, 14)
leaf = torch.zeros(2, 1, 14, 14)
leaf[..., 4:10, 4:10] = 1
known, unknown = torch.ones(2), torch.zeros(2)
elsewhere = shown + (1 - leaf)
assert float(_apart(elsewhere, shown, leaf, known)) == 0
assert float(_apart(elsewhere, shown, leaf, unknown)) > 0.1
assert float(_apart(shown + leaf, shown, leaf, known)) > 0.1
assert float(_apart(shown, shown, leaf, unknown)) == 0
print("guides are imitated on the leaf")
