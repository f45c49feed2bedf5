"""Images and their preprocessing, in several ways; each depends on (seed, index) alone, or on the user's own files.

`original` repeats the study that this one succeeds: float64 noise, PIL, normalised floats made by the CPU. `fast` is
how one would write it today: random bytes, torchvision v2 on uint8, and the device makes normalised floats of them.
`jpeg` decodes, as training does: JPEG images in memory, by turns. What the loader leaves to do, the device does."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from siliconbench.record.axes import DEVICES
from siliconbench.record.fields import Encoded
from siliconbench.run.vision import functional, io, v2

Norm = tuple[float, ...]  # of each channel
BatchCall = Callable[[torch.Tensor], torch.Tensor]
MEAN: Norm = (0.485, 0.456, 0.406)  # of ImageNet, as every torchvision classifier expects
STD: Norm = (0.229, 0.224, 0.225)
BEFORE_CROP = 256 / 224  # the shorter side, in sides of the crop
POOL, HEIGHT_PX, WIDTH_PX, QUALITY = 16, 375, 500, 90  # of the JPEG images: as many, so large, at libjpeg's quality


def float_noise(rng: np.random.Generator) -> np.ndarray:
    """One image as the original made it: float64 noise cut to uint8 (H, W, 3), H and W uniform in [200, 500)."""
    height, width = rng.integers(200, 500, 2)
    return (rng.random((height, width, 3)) * 255).astype(np.uint8)


def byte_noise(rng: np.random.Generator) -> torch.Tensor:
    """One image of the same sizes, uint8 (3, H, W), channels last in memory, drawn eight bytes at a time."""
    height, width = rng.integers(200, 500, 2)
    words = rng.integers(0, 2**64, -(-height * width * 3 // 8), dtype=np.uint64)
    return torch.from_numpy(words.view(np.uint8)[: height * width * 3].reshape(height, width, 3)).permute(2, 0, 1)


def original(pixels: np.ndarray, crop_px: int, mean: Norm = MEAN, std: Norm = STD) -> torch.Tensor:
    """Normalised float32 (3, crop_px, crop_px) by PIL: Resize, CenterCrop, ToTensor, Normalize."""
    resized = functional.resize(Image.fromarray(pixels), [round(crop_px * BEFORE_CROP)])
    return functional.normalize(functional.to_tensor(functional.center_crop(resized, [crop_px, crop_px])), mean, std)


def cropped(pixels: torch.Tensor, crop_px: int) -> torch.Tensor:
    """Uint8 (..., 3, crop_px, crop_px) of (..., 3, H, W), wherever that lies: Resize and CenterCrop."""
    resized = v2.functional.resize(pixels, [round(crop_px * BEFORE_CROP)], antialias=True)
    return v2.functional.center_crop(resized, [crop_px, crop_px])


def photograph(rng: np.random.Generator) -> torch.Tensor:
    """Uint8 (3, HEIGHT_PX, WIDTH_PX), whose amplitudes fall as 1/f, as those of photographs do (Field, 1987)."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT_PX)[:, None], np.fft.rfftfreq(WIDTH_PX))
    frequency[0, 0] = np.inf  # no mean
    waves = rng.standard_normal((3, *frequency.shape, 2)).view(complex)[..., 0] / frequency
    fields = np.fft.irfft2(waves, s=(HEIGHT_PX, WIDTH_PX))
    grey, red, blue = fields / fields.std(axis=(1, 2), keepdims=True)
    pixels = 127.5 + 45 * grey + 12 * np.stack([red, -(red + blue) / 2, blue])  # so that it has about 110 KB
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))


@lru_cache(maxsize=1)
def pool(seed: int) -> tuple[torch.Tensor, Encoded]:
    """The bytes of the JPEG images, uint8 (POOL, length), zeros after the end of a shorter one; and what they are."""
    data = [io.encode_jpeg(photograph(np.random.default_rng([seed, index])), QUALITY) for index in range(POOL)]
    px, mean_bytes = {"width_px": WIDTH_PX, "height_px": HEIGHT_PX}, round(sum(map(len, data)) / POOL)
    return pad_sequence(data, batch_first=True), Encoded(images=POOL, quality=QUALITY, mean_bytes=mean_bytes, **px)


def decoded(seed: int, index: int) -> torch.Tensor:
    """Uint8 (3, HEIGHT_PX, WIDTH_PX), by torchvision's decoder on the CPU."""
    return io.decode_jpeg(pool(seed)[0][index % POOL], io.ImageReadMode.RGB)


def opened(file: str) -> torch.Tensor:
    """Uint8 (3, H, W) of an image file by torchvision, not turned by EXIF; RuntimeError with the reason, no name."""
    try:
        pixels = io.decode_image(torch.from_numpy(np.fromfile(file, np.uint8)), io.ImageReadMode.RGB)
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise RuntimeError(f"an image can't be decoded: {why}") from None
    return v2.functional.to_dtype(pixels, torch.uint8, scale=True)  # a PNG may have 16 bits


WAYS: dict[str, Callable[..., torch.Tensor]] = {  # what the loader makes of (seed, index, crop_px, mean, std)
    "fast": lambda seed, index, px, *_: cropped(byte_noise(np.random.default_rng([seed, index])), px),
    "original": lambda seed, index, *fit: original(float_noise(np.random.default_rng([seed, index])), *fit),
    "jpeg": lambda seed, index, px, *_: cropped(decoded(seed, index), px),
    "jpeg-device-resize": lambda seed, index, px, *_: decoded(seed, index),
    "jpeg-device": lambda seed, index, px, *_: pool(seed)[0][index % POOL],
    "folder": lambda files, index, px, *_: cropped(opened(files[index % len(files)]), px),  # the files in their order
}


@dataclass(frozen=True)
class Images(Dataset[torch.Tensor]):
    """Endless images by index, as WAYS makes them of numbers alone, or of the names of files: workers get it."""

    kind: str
    seed: int
    crop_px: int
    mean: Norm = MEAN
    std: Norm = STD
    files: tuple[str, ...] = ()

    def __getitem__(self, index: int) -> torch.Tensor:
        return WAYS[self.kind](self.files or self.seed, index, self.crop_px, self.mean, self.std)


def finisher(
    device: torch.device, dtype: torch.dtype, layout: torch.memory_format, crop_px: int, mean: Norm = MEAN,
    std: Norm = STD,
) -> BatchCall:  # fmt: skip
    """The call that brings a batch from the host to the device, ready for the model: (N, 3, H, W) in dtype.

    There it is decoded, cropped and normalised, where it is not yet. Only a copy from pinned memory, where the device
    type has one on a stream beside, returns before it is done: elsewhere it may read memory used for the next batch."""
    middle, scale = (torch.tensor(values, device=device).view(3, 1, 1) * 255 for values in (mean, std))
    beside, scale = DEVICES[device.type].copies_beside, 1 / scale

    def finish(batch: torch.Tensor) -> torch.Tensor:
        if batch.dim() == 2:
            moved = torch.stack(io.decode_jpeg(list(batch), io.ImageReadMode.RGB, device))
        else:
            moved = batch.to(device, non_blocking=beside and batch.is_pinned())
        moved = moved if moved.shape[-2:] == (crop_px, crop_px) else cropped(moved, crop_px)
        if moved.dtype == torch.uint8:
            moved = (moved.float() - middle) * scale
        return moved.to(dtype=dtype, memory_format=layout)

    return finish
