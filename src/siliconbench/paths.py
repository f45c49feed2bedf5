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
    process and those that it starts find it there. ValueError where no such folder is."""
    if text in INPUTS and (text != "folder" or FOLDER in os.environ):
        return text
    folder = os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111  (they raise nothing)
    if not image_files(folder):
        raise ValueError(f"no folder with files that end in {', '.join(SUFFIXES)} is there")
    os.environ[FOLDER] = folder
    return "folder"
