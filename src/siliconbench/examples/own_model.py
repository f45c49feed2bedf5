"""A model of one's own: `make image IMAGE_MODEL=siliconbench.examples.own_model:build` measures it."""

from torch import nn


def build() -> nn.Module:
    """A small classifier, in float32. What its images are may stand on it: image_px, mean, std; and loss(output)."""
    parts = [nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*parts, nn.Linear(16, 10))
    model.image_px = 96  # type: ignore[assignment]
    return model
