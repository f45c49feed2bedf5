"""The images: the same for any number of workers and either start method, and the ways agree, to 1/255."""

import hashlib
import io
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from siliconbench.record import axes
from siliconbench.run import images, loader
from siliconbench.run.images import Images


@pytest.mark.parametrize("crop_px", [224, 299])
@pytest.mark.parametrize("size", [(200, 499), (499, 200), (256, 256), (333, 407)])
def test_the_two_ways_agree_on_the_same_bytes(crop_px, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (images.MEAN, images.STD))
    by_pil = images.original(pixels, crop_px) * std + mean
    by_tensor = images.cropped(torch.from_numpy(pixels).permute(2, 0, 1), crop_px).float() / 255
    assert by_pil.shape == by_tensor.shape == (3, crop_px, crop_px)
    assert float((by_pil - by_tensor).abs().max()) <= 1 / 255 + 1e-6


def test_original_is_the_work_of_torchvisions_own_transforms():
    pixels = images.float_noise(np.random.default_rng([1, 2]))
    sized = [transforms.Resize(256), transforms.CenterCrop(224)]
    steps = transforms.Compose([*sized, transforms.ToTensor(), transforms.Normalize(images.MEAN, images.STD)])
    wanted = steps(Image.fromarray(pixels))
    assert torch.equal(images.original(pixels, 224), wanted)


def test_noise_fills_the_law_of_the_original():
    sizes = np.array([images.byte_noise(np.random.default_rng([2021, i])).shape[1:] for i in range(400)])
    assert sizes.min() >= 200 and sizes.max() <= 499
    assert abs(sizes.mean() - 349.5) < 15  # uniform in [200, 500): four standard errors of 800 sides
    for make in (images.byte_noise, images.float_noise):
        values = np.bincount(np.ravel(make(np.random.default_rng([2021, 0]))), minlength=256)
        expected = values.sum() / 255.5
        assert (np.abs(values[:255] - expected) < 6 * expected**0.5).all()


def test_each_input_has_its_way():
    assert list(images.WAYS) == list(axes.INPUTS)


@pytest.fixture(scope="module")
def photographs():
    return [Image.open(io.BytesIO(bytes(row.tolist()))).convert("RGB") for row in images.pool(2021)[0]]


def test_jpeg_images_are_of_a_usual_size_and_the_record_says_which(photographs):
    """By another decoder; the bytes up to the marker of the end (ITU T.81: FF D9, never within the coded data)."""
    said = images.pool(2021)[1]
    lengths = [row.numpy().tobytes().rindex(b"\xff\xd9") + 2 for row in images.pool(2021)[0]]
    assert {image.size for image in photographs} == {(said.width_px, said.height_px)} == {(500, 375)}
    assert len(lengths) == said.images and said.mean_bytes == round(sum(lengths) / said.images)
    assert 105_000 < said.mean_bytes < 115_000


def test_jpeg_images_have_the_spectrum_of_photographs(photographs):
    """Amplitude by frequency falls as a power of -1, within what eight bits, clipping and quality 90 do to it."""
    grey = np.stack([np.asarray(image.convert("L"), dtype=float) for image in photographs])
    power = (np.abs(np.fft.fft2(grey - grey.mean())) ** 2).mean(0)
    radius = np.hypot(np.fft.fftfreq(375)[:, None], np.fft.fftfreq(500))
    bands = [(radius >= low) & (radius < 1.3 * low) for low in (0.01, 0.02, 0.04, 0.08)]
    slope = np.polyfit(*(np.log([x[band].mean() for band in bands]) for x in (radius, power)), 1)[0]
    assert slope / 2 == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("crop_px", [64, 224, 299])
@pytest.mark.parametrize("kind", ["jpeg", "jpeg-device-resize"])
def test_a_decoded_image_is_that_of_pils_decoder_resized_and_cropped(kind, crop_px, photographs):
    steps = [transforms.Resize(round(crop_px * 256 / 224)), transforms.CenterCrop(crop_px), transforms.ToTensor()]
    wanted = transforms.Compose([*steps, transforms.Normalize(images.MEAN, images.STD)])(photographs[3])
    finish = images.finisher(torch.device("cpu"), torch.float32, torch.contiguous_format, crop_px)
    got = finish(Images(kind, 2021, crop_px)[3 + images.POOL].unsqueeze(0))[0]
    assert float(((got - wanted) * torch.tensor(images.STD).view(3, 1, 1)).abs().max()) <= 2 / 255 + 1e-6


@pytest.mark.parametrize("kind", ["fast", "original", "jpeg", "jpeg-device-resize"])
def test_the_device_ends_with_normalised_floats_either_way(kind):
    some = Images(kind, 2021, 224)
    finish = images.finisher(torch.device("cpu"), torch.float32, torch.contiguous_format, 224)
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


@pytest.mark.parametrize("kind", axes.INPUTS[:-1])  # a folder has a file of its own
def test_the_same_images_for_any_number_of_workers(kind):
    some = Images(kind, 7, 64)
    assert (
        len({digest(some, w, ("fork" if sys.platform == "linux" else "spawn") if w else None) for w in (0, 1, 2, 4)})
        == 1
    )
    assert digest(some, 0, None) != digest(Images(kind, 8, 64), 0, None)


def test_spawned_workers_make_the_same_images():
    some = Images("jpeg", 7, 64)  # its pool is made anew in each of them; one tells what more would
    assert digest(some, 1, "spawn") == digest(some, 0, None)


def test_a_image_does_not_repeat_and_the_data_set_is_only_numbers():
    some = Images("fast", 7, 64)
    assert len({some[i].numpy().tobytes() for i in range(50)}) == 50
    assert len(pickle.dumps(some)) < 300


def test_every_batch_is_whole():
    made = stream(Images("fast", 7, 32), 5)
    assert {tuple(next(made).shape) for _ in range(7)} == {(5, 3, 32, 32)}
