"""Checks that a guide is imitated everywhere but off a leaf whose place is known, and a wrong teacher is not believed."""
from types import SimpleNamespace

import torch

from cropshield.train import _apart, _loss

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

recipe = {"outlier_weight": 0.5, "reject_weight": 0.0, "distill_share": 0.7, "distill_temperature": 2.0, "distill_right": True}
tested, logits = torch.arange(3), torch.randn(1, 3)
drawn = SimpleNamespace(target=torch.tensor([[0.9, 0.1, 0.0]]), outlier=torch.zeros(1))
right, wrong = torch.tensor([[0.6, 0.3, 0.1]]), torch.tensor([[0.1, 0.2, 0.7]])
alone = _loss(recipe, tested, logits, torch.zeros(1), drawn, None)
assert torch.equal(_loss(recipe, tested, logits, torch.zeros(1), drawn, wrong), alone)
assert not torch.equal(_loss(recipe, tested, logits, torch.zeros(1), drawn, right), alone)
assert not torch.equal(_loss({**recipe, "distill_right": False}, tested, logits, torch.zeros(1), drawn, wrong), alone)
print("guides are imitated on the leaf")
