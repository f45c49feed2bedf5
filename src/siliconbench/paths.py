"""Where files are: the clone's own, those that `make` leaves in the folder it runs in, and the user's own images."""

import os
from pathlib import Path

from siliconbench.record.axes import INPUTS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "reports/data"  # the published records, tracked by git
SCHEMA = ROOT / "reports/record.schema.json"
PUBLISHED = ROOT / "reports/published.csv"
REPORTS = Path("reports")
MINE = REPORTS / "mine"  # this user's own records, ignored by git
RUNS = REPORTS / "runs"
FOLDER = "SILICONBENCH_FOLDER"  # the environment's variable that says where the user's images are: no record does
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def image_files(folder: str) -> list[str]:
    """The files in a folder, and in those within it, that are called images; in the order of their names."""
    return sorted(str(file) for file in Path(folder).rglob("*") if file.suffix.lower() in SUFFIXES)


def images(text: str) -> str:
    """A way to make images as it stands; for a folder "folder", and where it is stands in the environment alone: this
    process and those that it starts find it there. ValueError where it holds no images."""
    if text in INPUTS and (text != "folder" or FOLDER in os.environ):
        return text
    try:
        folder = Path(text).expanduser().absolute()
        why = "" if folder.is_dir() else "that is a file" if folder.exists() else "there is no such folder"
    except (OSError, RuntimeError) as error:  # not allowed; or of a user who is none
        raise ValueError(getattr(error, "strerror", None) or "there is no such folder") from None
    if why := why or ("" if image_files(str(folder)) else f"it holds no file that ends in {', '.join(SUFFIXES)}"):
        raise ValueError(why)
    os.environ[FOLDER] = str(folder)
    return "folder"
