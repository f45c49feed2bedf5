"""Where models come from: torchvision, timm, a factory of the user's; what their images, outputs and losses are."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.utils._pytree import tree_leaves

from siliconbench.record.named import OWN
from siliconbench.run.images import MEAN, STD
from siliconbench.run.vision import models as zoo

SLOW_TO_FILL = ("googlenet", "inception_v3")  # their own way to draw weights takes a minute, and speed depends on none
OWN_S, FEW = 120.0, 4096  # the most that an own model's factory takes; numbers of an output that are compared
Loss = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]  # of a model and a ready batch


class Unfit(RuntimeError):
    """The model that was asked for can't be had; the message says why."""


class Pixels(NamedTuple):
    """What a model's images are: their side, and the mean and the standard deviation that they are normalised by."""

    px: int
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD


def leaves(out: object) -> list[torch.Tensor]:
    """The floating tensors of an output, which may be a tree of lists, tuples and dicts, in their order."""
    return [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def by_image(out: object, count: int) -> torch.Tensor | None:
    """A row for each of so many images: a few thousand of an output's numbers; None where they are not by image."""
    listed = isinstance(out, list) and any(isinstance(one, dict) for one in out)  # what was found in each image
    found = [leaf for leaf in leaves(out) if leaf.shape[:1] == (count,) and leaf.numel() and not listed]
    rows = [leaf.reshape(count, -1).float() for leaf in found]
    return torch.cat([row[:, :: 1 + row.shape[1] // FEW] for row in rows], 1) if rows else None


def classify(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """The loss by random labels, of each image or of each of its pixels; helpers' outputs don't count."""
    out = leaves(model(batch))[0]
    return cross_entropy(out, torch.randint(0, out.shape[1], (len(out), *out.shape[2:]), device=out.device))


def detect(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """The sum of a detector's losses, by the same object in each image."""
    px, there = batch.shape[-1], partial(torch.tensor, device=batch.device)
    known = {"boxes": there([[0.1 * px, 0.1 * px, 0.6 * px, 0.6 * px]]), "labels": there([1])}
    known["masks"] = torch.ones(1, px, px, device=batch.device)
    known["keypoints"] = there([[[0.3 * px, 0.3 * px, 1.0]] * 17])
    return torch.stack(leaves(model(batch, [known] * len(batch)))).sum()


def own_loss(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """The loss that an own model has for its output, else the mean of all floating numbers of that."""
    out, loss = model(batch), getattr(model, "loss", None)
    return loss(out) if loss else torch.cat([leaf.flatten() for leaf in leaves(out)]).mean()


class Built(NamedTuple):
    """A model, what its images are, its loss, whether its weights are ours to fill, and what is to be said of it."""

    model: torch.nn.Module
    pixels: Pixels
    loss: Loss = classify
    fresh: bool = True
    notes: tuple[str, ...] = ()


def torchvisions(name: str, px: int | None) -> Built:
    """A model of torchvision, by default for images of the smallest size that it has weights for: 224 px for most."""
    if name in zoo.list_models(module=zoo.detection):
        return detector(zoo.get_model(name, weights=None, weights_backbone=None), px)
    plain: dict[str, object] = {"init_weights": False} if name in SLOW_TO_FILL else {}
    plain |= {"weights_backbone": None} if name in zoo.list_models(module=zoo.segmentation) else {}
    made = [weights.transforms() for weights in zoo.get_model_weights(name)]
    own_px = min((getattr(way, "crop_size", None) or way.resize_size)[0] for way in made)
    return Built(zoo.get_model(name, weights=None, **plain), Pixels(px or own_px))


def detector(model: Any, px: int | None) -> Built:
    """A detector of torchvision that finds as many boxes in any image: its thresholds let all pass, the top k stay."""
    heads, changed = getattr(model, "roi_heads", None), model.transform
    side = px or (changed.fixed_size or changed.min_size)[0]
    changed.min_size, changed.max_size = (side,), max(side, changed.max_size)
    changed.fixed_size = changed.fixed_size and (side, side)
    for part in filter(None, (model, heads, getattr(model, "rpn", None))):
        part.nms_thresh = 1.0  # no box is another's double
    if heads:  # one class of each proposal passes, and each is an anchor, so that none is too small to be kept
        for layer in (heads.box_predictor.cls_score, heads.box_predictor.bbox_pred, model.rpn.head.bbox_pred):
            torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(heads.box_predictor.cls_score.bias[1:2], 20.0)
    else:
        model.score_thresh = -1.0
    most = (heads or model).detections_per_img
    note = f"A detector's speed depends on its boxes: thresholds that let all pass keep the top {most} of each image."
    return Built(model, Pixels(side, (0.0,) * 3, (1.0,) * 3), detect, False, (note,))


def timms(name: str, px: int | None) -> Built:
    """A model of timm, with its own image size, mean and standard deviation."""
    timm = importlib.import_module("timm")
    model = timm.create_model(name, pretrained=False)
    told = timm.data.resolve_model_data_config(model)
    return Built(model, Pixels(px or told["input_size"][-1], tuple(told["mean"]), tuple(told["std"])))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """While the body runs, at most so long; then TimeoutError."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it took over {seconds:.0f} s")

    before, timer = signal.signal(signal.SIGALRM, late), signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


def made(word: str) -> object:
    """What the factory of `path/to/file.py:factory` or `package.module:factory` gives, as Python would find it."""
    place, _, factory = word.rpartition(":")
    sys.path[:0] = [folder for folder in (str(Path(place).parent), str(Path.cwd())) if folder not in sys.path]
    if not place.endswith(".py"):
        return getattr(importlib.import_module(place), factory)()
    spec = importlib.util.spec_from_file_location(f"own_{Path(place).stem}", place)
    assert spec and spec.loader, "the file was found when the knobs were read"
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, factory)()


def owns(name: str, px: int | None) -> Built:
    """A model of the user's, as its factory makes it; Unfit, with the reason, where it makes none."""
    if not (word := os.environ.get(OWN + name)):
        raise Unfit(f"where {name} is made is not known here: name its file, as file.py:{name}")
    try:
        with at_most(OWN_S):
            model = made(word)
    except (Exception, SystemExit) as error:
        raise Unfit(f"{name} could not be built: {type(error).__name__}: {error}") from None
    if not isinstance(model, torch.nn.Module):
        raise Unfit(f"{name} gave a {type(model).__name__}, and a torch.nn.Module is needed")
    kinds = {x.dtype for x in (*model.parameters(), *model.buffers()) if x.is_floating_point()} - {torch.float32}
    shape = tuple(getattr(model, "input_shape", None) or (3, *[getattr(model, "image_px", 224)] * 2))
    if kinds or len(shape) < 3 or shape[-3] != 3 or shape[-2] != shape[-1]:
        raise Unfit(f"{name} is to be in float32, for square images of 3 channels: {kinds or shape} is not")
    norm = (tuple(map(float, getattr(model, key, usual))) for key, usual in (("mean", MEAN), ("std", STD)))
    return Built(model.cpu(), Pixels(px or shape[-1], *norm), own_loss, False)


SOURCES = {"torchvision": torchvisions, "timm": timms, "own": owns}
