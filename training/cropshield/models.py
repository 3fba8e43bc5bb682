"""Owns the networks: the reference network, its small sibling and the teacher that is only used for training.

Every network maps (B, 3, H, W) normalised float32 to (B, classes) logits and offers `features(x)`, the pooled
vector before the last linear layer. Does not know about data, losses or files.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class CropShieldCNN(nn.Module):
    """The reference network: 4 blocks of two 3x3 convolutions, 4.7 M parameters, 10.26 GMAC at 224x224.

    Tensor names and shapes are fixed: they are those of the published `state_dict`.
    """

    def __init__(self, num_classes=22, dropout=0.1, block_dropout=0.0):
        super().__init__()
        widths = [3, 64, 128, 256, 512]
        for i in range(4):
            a, b = widths[i], widths[i + 1]
            setattr(self, f"block{i + 1}", nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
                nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
                nn.MaxPool2d(2, 2), nn.Dropout2d(block_dropout)))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(512, num_classes))

    def activations(self, x):
        return self.block4(self.block3(self.block2(self.block1(x))))

    def features(self, x):
        return self.activations(x).float().mean((2, 3))

    def forward(self, x):
        return self.classifier(self.features(x))
