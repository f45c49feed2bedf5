"""The images: the same for any number of workers and either start method, and the two ways agree to 1/255."""

import hashlib
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from siliconbench.run import images, loader
from siliconbench.run.images import Images


@pytest.mark.parametrize("crop_px", [224, 299])
@pytest.mark.parametrize("size", [(200, 499), (499, 200), (256, 256), (333, 407)])
def test_the_two_ways_agree_on_the_same_bytes(crop_px, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (images.MEAN, images.STD))
    by_pil = images.original(pixels, crop_px) * std + mean
    by_tensor = images.fast(pixels, crop_px).float() / 255
    assert by_pil.shape == by_tensor.shape == (3, crop_px, crop_px)
    assert float((by_pil - by_tensor).abs().max()) <= 1 / 255 + 1e-6


def test_original_is_the_work_of_torchvisions_own_transforms():
    pixels = images.float_noise(np.random.default_rng([1, 2]))
    sized = [transforms.Resize(256), transforms.CenterCrop(224)]
    steps = transforms.Compose([*sized, transforms.ToTensor(), transforms.Normalize(images.MEAN, images.STD)])
    wanted = steps(Image.fromarray(pixels))
    assert torch.equal(images.original(pixels, 224), wanted)


def test_noise_fills_the_law_of_the_original():
    sizes = np.array([images.byte_noise(np.random.default_rng([2021, i])).shape for i in range(400)])
    assert sizes[:, :2].min() >= 200 and sizes[:, :2].max() <= 499
    assert abs(sizes[:, :2].mean() - 349.5) < 15  # uniform in [200, 500): four standard errors of 800 sides
    for make in (images.byte_noise, images.float_noise):
        values = np.bincount(make(np.random.default_rng([2021, 0])).ravel(), minlength=256)
        expected = values.sum() / 255.5
        assert (np.abs(values[:255] - expected) < 6 * expected**0.5).all()


@pytest.mark.parametrize("kind", ["fast", "original"])
def test_the_device_ends_with_normalised_floats_either_way(kind):
    some = Images(kind, 2021, 224)
    finish = images.finisher(torch.device("cpu"), torch.float32, torch.contiguous_format)
    ready = finish(torch.stack([some[i] for i in range(4)]))
    assert ready.dtype == torch.float32 and ready.shape == (4, 3, 224, 224)
    assert abs(float(ready.mean())) < 0.35 and 0.5 < float(ready.std()) < 1.5


def stream(some, batch_size, workers=0, start_method=None):
    case = SimpleNamespace(batch_size=batch_size)
    bench = SimpleNamespace(images=some, case=case, device=torch.device("cpu"))
    return loader.stream(bench, workers, start_method)


def digest(some, workers, start_method, count=4):
    made = stream(some, 3, workers, start_method)
    data = b"".join(next(made).numpy().tobytes() for _ in range(count))
    del made
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", ["fast", "original"])
def test_the_same_images_for_any_number_of_workers(kind):
    some = Images(kind, 7, 64)
    assert (
        len({digest(some, w, ("fork" if sys.platform == "linux" else "spawn") if w else None) for w in (0, 1, 2, 4)})
        == 1
    )
    assert digest(some, 0, None) != digest(Images(kind, 8, 64), 0, None)


def test_spawned_workers_make_the_same_images():
    some = Images("fast", 7, 64)
    assert digest(some, 2, "spawn") == digest(some, 0, None)


def test_a_image_does_not_repeat_and_the_data_set_is_only_numbers():
    some = Images("fast", 7, 64)
    assert len({some[i].numpy().tobytes() for i in range(50)}) == 50
    assert len(pickle.dumps(some)) < 300


def test_every_batch_is_whole():
    made = stream(Images("fast", 7, 32), 5)
    assert {tuple(next(made).shape) for _ in range(7)} == {(5, 3, 32, 32)}
