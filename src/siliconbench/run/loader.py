"""The data loader: an endless stream of batches that can be set to an image, and knows how many lie ready."""

import multiprocessing
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, Sampler, default_collate, get_worker_info

from siliconbench.record.axes import DEVICES

if TYPE_CHECKING:  # which itself takes a loader
    from siliconbench.run.passes import Bench

PREFETCH = 2  # batches that each worker makes ahead: torch's own default


class Indices(Sampler[list[int]]):
    """The images' indices, batch after batch without an end; `first`, the next batch's first, can be set."""

    def __init__(self, batch_size: int) -> None:
        self.first, self.batch_size = 0, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            self.first += self.batch_size
            yield list(range(self.first - self.batch_size, self.first))


def collate(made: MutableSequence[int], images: list[torch.Tensor]) -> torch.Tensor:
    """The batch (N, 3, H, W); each worker counts its own where all processes see it (so there is no lock)."""
    batch: torch.Tensor = default_collate(images)
    if worker := get_worker_info():
        made[worker.id] += 1
    return batch


@dataclass
class Loader:
    """An endless stream of batches: an iterator, and what tells how it stands. It must be dropped (`del`) for the
    workers to leave. stock: how many batches lay ready before the last was taken."""

    batches: Iterator[torch.Tensor]
    workers: int = 0
    indices: Indices = field(default_factory=lambda: Indices(1))
    made: MutableSequence[int] = field(default_factory=list)
    taken: int = 0
    stock: int = 0

    def __next__(self) -> torch.Tensor:
        self.stock = max(0, sum(self.made) - self.taken)
        self.taken += 1
        return next(self.batches)

    def jump(self, first: int) -> None:
        """Sets the stream: the next batch begins with this image. What the workers were to make before it goes by."""
        self.indices.first = first
        for _ in range(self.workers * PREFETCH):  # each of them has so many to make, at any time
            next(self)


def stream(bench: "Bench", workers: int, start_method: str | None = None) -> Loader:
    """An endless stream of whole batches, uint8 or float32 (N, 3, H, W), made by so many worker processes (0: by this).

    One iterator serves a whole run: its workers stay, and no pass pays for their start. start_method None is the
    platform's own: fork on Linux, spawn on macOS. The memory is pinned where the device copies from it."""
    context = multiprocessing.get_context(start_method) if workers else None
    indices, made = Indices(bench.case.batch_size), context.RawArray("q", workers) if context else []
    batches = iter(DataLoader(
        bench.images, batch_sampler=indices, num_workers=workers, collate_fn=partial(collate, made),
        pin_memory=DEVICES[bench.device.type].copies_beside, prefetch_factor=PREFETCH if workers else None,
        persistent_workers=workers > 0, multiprocessing_context=context,
    ))  # fmt: skip
    return Loader(batches, workers, indices, made)
