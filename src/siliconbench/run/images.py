"""Random images and their preprocessing: the work that keeps a CPU busy before any model runs.

Two ways to the same work. `original` repeats the study that this one succeeds: float64 noise, PIL, normalised floats
made by the CPU. `fast` is how one would write it today: random bytes, torchvision v2 on uint8, and the device turns
bytes into normalised floats. Each image depends on (seed, index) alone, so any number of workers, forked or spawned,
makes the same ones. The data set holds numbers only: a spawned worker must be able to unpickle it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.transforms import v2

from siliconbench.record.axes import DEVICES

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as every torchvision classifier expects
ENDLESS = 2**40  # images: a data set that no pass comes to the end of, so there is no ragged last batch


def random_generator(seed: int, index: int) -> np.random.Generator:
    """The generator of one image, whichever process asks for it."""
    return np.random.default_rng([seed, index])


def shape(rng: np.random.Generator) -> tuple[int, int, int]:
    """Height and width, each uniform in [200, 500), and three channels."""
    height, width = rng.integers(200, 500, 2)
    return int(height), int(width), 3


def float_noise(rng: np.random.Generator) -> np.ndarray:
    """One image as the original made it: float64 noise cut to uint8 (H, W, 3)."""
    return (rng.random(shape(rng)) * 255).astype(np.uint8)


def byte_noise(rng: np.random.Generator) -> np.ndarray:
    """One image, uint8 (H, W, 3), drawn eight bytes at a time."""
    size = shape(rng)
    words = rng.integers(0, 2**64, -(-size[0] * size[1] * 3 // 8), dtype=np.uint64)
    return words.view(np.uint8)[: size[0] * size[1] * 3].reshape(size)


def resize_px(crop_px: int) -> int:
    """The shorter side before the crop: 256 for 224, and the same share for other sizes."""
    return round(crop_px * 256 / 224)


def original(pixels: np.ndarray, crop_px: int) -> torch.Tensor:
    """Normalised float32 (3, crop_px, crop_px) by PIL: Resize, CenterCrop, ToTensor, Normalize."""
    return _original_steps(crop_px)(Image.fromarray(pixels))


@cache
def _original_steps(crop_px: int) -> transforms.Compose:
    sized = [transforms.Resize(resize_px(crop_px)), transforms.CenterCrop(crop_px)]
    return transforms.Compose([*sized, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def fast(pixels: np.ndarray, crop_px: int) -> torch.Tensor:
    """Uint8 (3, crop_px, crop_px) by torchvision v2 on tensors; normalised later, on the device."""
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)  # (3, H, W), channels last in memory
    resized = v2.functional.resize(tensor, [resize_px(crop_px)], antialias=True)
    return v2.functional.center_crop(resized, [crop_px, crop_px])


@dataclass(frozen=True)
class Images(Dataset[torch.Tensor]):
    """Endless images by index: normalised floats for `original`, bytes for `fast`."""

    kind: str
    seed: int
    crop_px: int

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> torch.Tensor:
        rng = random_generator(self.seed, index)
        if self.kind == "original":
            return original(float_noise(rng), self.crop_px)
        return fast(byte_noise(rng), self.crop_px)


def finisher(
    device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The call that brings a batch from the host to the device, ready for the model: (N, 3, H, W) in dtype.

    Bytes become normalised floats there. Only a copy from pinned memory, where the device type has one on a stream
    beside, returns before it is done: elsewhere it may read memory that is already used for the next batch.
    """
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1) * 255
    scale = 1 / (torch.tensor(STD, device=device).view(3, 1, 1) * 255)
    beside = DEVICES[device.type].copies_beside

    def finish(batch: torch.Tensor) -> torch.Tensor:
        moved = batch.to(device, non_blocking=beside and batch.is_pinned())
        if moved.dtype == torch.uint8:
            moved = (moved.float() - mean) * scale
        return moved.to(dtype=dtype, memory_format=layout)

    return finish
