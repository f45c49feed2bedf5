"""A folder of the user's own images. A run reads the first NUM_IMAGES in an order that the seed gives, by turns.

Each file's header is read, each image of a run decoded, once for all runs of a sweep and before anything is timed: what
is broken is named on the terminal and left out. Records get numbers alone."""

import atexit
import ctypes
import hashlib
import json
import mmap
import os
import random
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from siliconbench.analysis.words import listed
from siliconbench.knobs import WrongKnob
from siliconbench.machine.tools import tried
from siliconbench.paths import FOLDER, image_files
from siliconbench.record.fields import Folder
from siliconbench.run.images import opened
from siliconbench.run.loader import PREFETCH, Loader

if TYPE_CHECKING:  # which itself takes a survey
    from siliconbench.run.passes import Bench

KEPT = "SILICONBENCH_SURVEY"  # the environment's variable that says where the survey is, for the runs of a sweep
HELD = 0.05  # of the files' pages may still be in memory for a read to count as cold


class Survey(NamedTuple):
    """A folder's fingerprint, the record's numbers, the files that runs read; asked: the folder, the seed, how many."""

    asked: list[Any]
    mark: str
    about: dict[str, Any]
    files: list[str]


def surveyed(seed: int, count: int, anew: bool = False) -> Survey:
    """What is known of the folder that INPUT named, and the first `count` of its files in this seed's order. It is kept
    for all that this process starts; anew: looked at again."""
    root, kept = os.environ.get(FOLDER, ""), os.environ.get(KEPT)
    if not root:
        raise WrongKnob("INPUT: where the folder is, is not known here: give its path")
    found = Survey(*json.loads(Path(kept).read_text("utf-8"))) if kept else None
    if anew or not found or found.asked[:2] != [root, seed] or found.asked[2] < count:
        found = survey(root, seed, count)
        with tempfile.NamedTemporaryFile("w", prefix="siliconbench-", delete=False) as file:
            json.dump(found, file)
        os.environ[KEPT] = file.name
        atexit.register(partial(Path(file.name).unlink, missing_ok=True))
    return found._replace(files=found.files[:count])


def header(file: str) -> tuple[str, int, int, int]:
    """An image's format, bytes, width and height, its pixels unread."""
    with Image.open(file, formats=("JPEG", "PNG", "WEBP")) as image:  # many phones' JPEG is an MPO
        return str(image.format).replace("MPO", "JPEG"), Path(file).stat().st_size, *image.size


def survey(root: str, seed: int, count: int) -> Survey:
    """The survey of a folder; what is broken is named. WrongKnob where all is."""
    Image.init()  # else it knows no WebP
    every, files = {file: tried(header, file) for file in image_files(root)}, list[str]()
    mark = hashlib.sha256("\n".join(sorted(f"{size[1:]}" for size in every.values() if size)).encode()).hexdigest()[:12]
    turns = [file for file, size in every.items() if size]
    random.Random(seed).shuffle(turns)
    with ThreadPoolExecutor() as pool:
        while turns and len(files) < count:
            some, turns = turns[: count - len(files)], turns[count - len(files) :]
            whole = [*pool.map(lambda file: tried(opened, file) is not None, some)]
            every |= {file: None for file, fit in zip(some, whole, strict=True) if not fit}
            files += [file for file in some if every[file]]
    if broken := [repr(os.path.relpath(file, root)) for file, size in every.items() if not size]:
        print(f"Left out, {len(broken)} that can't be decoded: {listed(broken, 10, ', ')}", flush=True)
    if not files:
        raise WrongKnob("INPUT: the folder holds no image that can be decoded")
    formats, sizes, *sides = zip(*filter(None, every.values()), strict=True)
    width_px, height_px = ([min(side), median_low(side), max(side)] for side in sides)
    about = {"images": len(sizes), "left_out": len(broken), "mean_bytes": round(sum(sizes) / len(sizes))}
    about |= {"width_px": width_px, "height_px": height_px, "formats": Counter(formats)}
    return Survey([root, seed, count], mark, about, files)


def emptied(files: list[str]) -> str:
    """Nothing, once the page cache holds none of these files; or why it may, where it can't be made to or told."""
    if not hasattr(os, "posix_fadvise"):
        return "this system has no call that takes a file out of its page cache"
    held, every, mincore = 0, 0, ctypes.CDLL(None).mincore
    for name in files:
        with Path(name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as there:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            pages = (ctypes.c_ubyte * (count := -(-len(there) // mmap.PAGESIZE)))(*[1] * count)
            mincore(ctypes.byref(ctypes.c_char.from_buffer(there)), ctypes.c_size_t(len(there)), pages)
            held, every = held + sum(page & 1 for page in pages), every + count
    return f"{100 * held / every:.0f} % of the files' pages stayed in memory" if held > HELD * every else ""


def described(bench: "Bench", source: Loader) -> Folder:
    """The record's section: the folder's numbers, and the images/s of this loader from a cold page cache: all that it
    is timed for is made after its clock has started, what it had made ahead, warm, goes by."""
    (_, _, about, files), size, cold = surveyed(bench.case.seed, bench.case.num_images), bench.case.batch_size, None
    while source.workers and sum(source.made) - source.taken < source.workers * PREFETCH:  # who reads warms it
        time.sleep(0.01)
    batches = len(files) // size
    if not (why := emptied(files) if batches else "the run reads fewer images than one batch holds"):
        start = time.perf_counter()
        source.jump(0)
        for _ in range(batches):
            next(source)
        cold = batches * size / (time.perf_counter() - start)
    for file in files[batches * size if cold else 0 :]:
        Path(file).read_bytes()
    return Folder(**about, read=len(files), cold_images_per_s=cold, unknown={"cold_images_per_s": why} if why else {})
