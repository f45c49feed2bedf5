"""Random images and their preprocessing, in two ways to the same work; each image depends on (seed, index) alone.

`original` repeats the study that this one succeeds: float64 noise, PIL, normalised floats made by the CPU. `fast` is
how one would write it today: random bytes, torchvision v2 on uint8, and the device makes normalised floats of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import functional, v2

from siliconbench.record.axes import DEVICES

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as every torchvision classifier expects
BEFORE_CROP = 256 / 224  # the shorter side, in sides of the crop


def float_noise(rng: np.random.Generator) -> np.ndarray:
    """One image as the original made it: float64 noise cut to uint8 (H, W, 3), H and W uniform in [200, 500)."""
    height, width = rng.integers(200, 500, 2)
    return (rng.random((height, width, 3)) * 255).astype(np.uint8)


def byte_noise(rng: np.random.Generator) -> np.ndarray:
    """One image of the same sizes, uint8 (H, W, 3), drawn eight bytes at a time."""
    height, width = rng.integers(200, 500, 2)
    words = rng.integers(0, 2**64, -(-height * width * 3 // 8), dtype=np.uint64)
    return words.view(np.uint8)[: height * width * 3].reshape(height, width, 3)


def original(pixels: np.ndarray, crop_px: int) -> torch.Tensor:
    """Normalised float32 (3, crop_px, crop_px) by PIL: Resize, CenterCrop, ToTensor, Normalize."""
    resized = functional.resize(Image.fromarray(pixels), [round(crop_px * BEFORE_CROP)])
    return functional.normalize(functional.to_tensor(functional.center_crop(resized, [crop_px, crop_px])), MEAN, STD)


def fast(pixels: np.ndarray, crop_px: int) -> torch.Tensor:
    """Uint8 (3, crop_px, crop_px) by torchvision v2 on tensors; normalised later, on the device."""
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)  # (3, H, W), channels last in memory
    resized = v2.functional.resize(tensor, [round(crop_px * BEFORE_CROP)], antialias=True)
    return v2.functional.center_crop(resized, [crop_px, crop_px])


@dataclass(frozen=True)
class Images(Dataset[torch.Tensor]):
    """Endless images by index: normalised floats for `original`, bytes for `fast`. Numbers alone: workers get it."""

    kind: str
    seed: int
    crop_px: int

    def __getitem__(self, index: int) -> torch.Tensor:
        rng = np.random.default_rng([self.seed, index])
        if self.kind == "original":
            return original(float_noise(rng), self.crop_px)
        return fast(byte_noise(rng), self.crop_px)


def finisher(
    device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The call that brings a batch from the host to the device, ready for the model: (N, 3, H, W) in dtype.

    Bytes become normalised floats there. Only a copy from pinned memory, where the device type has one on a stream
    beside, returns before it is done: elsewhere it may read memory that is already used for the next batch."""
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) * 255 for values in (MEAN, STD))
    beside, scale = DEVICES[device.type].copies_beside, 1 / std

    def finish(batch: torch.Tensor) -> torch.Tensor:
        moved = batch.to(device, non_blocking=beside and batch.is_pinned())
        if moved.dtype == torch.uint8:
            moved = (moved.float() - mean) * scale
        return moved.to(dtype=dtype, memory_format=layout)

    return finish
