"""Where files are: the clone's own, and those that `make` leaves in the folder it runs in."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "reports/data"  # the published records, tracked by git
SCHEMA = ROOT / "reports/record.schema.json"
PUBLISHED = ROOT / "reports/published.csv"
REPORTS = Path("reports")
MINE = REPORTS / "mine"  # this user's own records, ignored by git
RUNS = REPORTS / "runs"
