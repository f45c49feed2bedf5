"""Where files are: the clone's own, and those that `make` leaves in the folder it runs in."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "reports/data"
SCHEMA = ROOT / "reports/record.schema.json"
PUBLISHED = ROOT / "reports/published.csv"
REPORTS = Path("reports")
RUNS = REPORTS / "runs"
