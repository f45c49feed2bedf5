"""A folder of the user's own images: each header is read, each image of a run decoded, once for all runs of a sweep and
before anything is timed. What is broken is named on the terminal and left out; records get numbers alone."""

import atexit
import ctypes
import hashlib
import json
import mmap
import os
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

from PIL import Image

from siliconbench import knobs, paths
from siliconbench.analysis.words import listed
from siliconbench.machine.tools import tried
from siliconbench.run.images import opened

KEPT = "SILICONBENCH_SURVEY"  # the environment's variable that says where the survey is, for the runs of a sweep


class Survey(NamedTuple):
    """A folder's fingerprint, the record's numbers, the files that runs read; asked: the folder, the seed, how many."""

    asked: list[Any]
    mark: str
    about: dict[str, Any]
    files: list[str]


def surveyed(seed: int, count: int, anew: bool = False) -> Survey:
    """What is known of the folder that INPUT named, and the first `count` of its files in this seed's order, which runs
    read by turns. It is kept for all that this process starts; anew: looked at again."""
    root, kept = os.environ[paths.FOLDER], os.environ.get(KEPT)
    found = Survey(*json.loads(Path(kept).read_text("utf-8"))) if kept else None
    if anew or not found or found.asked[:2] != [root, seed] or found.asked[2] < count:
        found = survey(root, seed, count)
        with tempfile.NamedTemporaryFile("w", prefix="siliconbench-", delete=False) as file:
            json.dump(found, file)
        os.environ[KEPT] = file.name
        atexit.register(Path(file.name).unlink, missing_ok=True)
    return found._replace(files=found.files[:count])


def header(file: str) -> tuple[str, int, int, int]:
    """An image's format, bytes, width and height, its pixels unread."""
    with Image.open(file, formats=("JPEG", "PNG", "WEBP")) as image:  # many phones' JPEG is an MPO
        return str(image.format).replace("MPO", "JPEG"), Path(file).stat().st_size, *image.size


def survey(root: str, seed: int, count: int) -> Survey:
    """The survey of a folder; what is broken is named. WrongKnob where all is."""
    Image.init()  # else it knows no WebP
    every, files = {file: tried(header, file) for file in paths.image_files(root)}, list[str]()
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
        raise knobs.WrongKnob("INPUT: the folder holds no image that can be decoded")
    formats, sizes, *sides = zip(*filter(None, every.values()), strict=True)
    width_px, height_px = ([min(side), median_low(side), max(side)] for side in sides)
    about = {"images": len(sizes), "left_out": len(broken), "mean_bytes": round(sum(sizes) / len(sizes))}
    about |= {"width_px": width_px, "height_px": height_px, "formats": {k: formats.count(k) for k in {*formats}}}
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
    return f"{100 * held / every:.0f} % of the files' pages stayed in memory" if held > 0.05 * every else ""
