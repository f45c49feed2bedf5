"""`make bench`: 10,000 records must render in at most 10 s more than 100 do, under 1 GB, on a page under 1 MB."""

import random
import resource
import subprocess
import sys
import time

import pytest

from siliconbench import paths
from siliconbench.record import store
from siliconbench.record.schema import Record
from tests.samples import sample, samples

MACHINES = 20
TELEMETRY = samples(-1.0, 60.0, 70, cpu_temperature_c=lambda t: 60.0 + t / 10, system_w=lambda t: 30.0)


def fill(folder, count):
    """So many records of 20 machines in the folder, each with a minute of telemetry and a hundred requests."""
    rng = random.Random(7)
    for i in range(count):
        rate = rng.uniform(90, 110) * (1 + i % MACHINES)
        data = sample(rate, model="resnet50", batch_size=(1, 8, 64)[i // MACHINES % 3])
        data["machine"] = data["machine"] | {"slug": f"machine-{i % MACHINES:02d}"}
        data |= {"repeat": 1 + i // (3 * MACHINES), "telemetry": TELEMETRY, "unknown": {"energy": "none here"}}
        data["latency"]["request_s"] = [rng.uniform(0.08, 0.1) for _ in range(100)]
        path = folder / data["machine"]["slug"]
        made = Record.model_validate(data)
        path.mkdir(parents=True, exist_ok=True)
        (path / store.file_name(made.case, made.created, made.repeat)).write_text(store.dumps(made))


def made(folder, records):
    """The wall and processor seconds of `make report` over the records, and the page."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "siliconbench", "report"]
    subprocess.run(command, cwd=folder, env={"RESULTS": str(records), "PATH": "/usr/bin:/bin"}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, processor, folder / "reports" / "report.html"


@pytest.mark.parametrize("count", [10_000])
def test_many_records_take_little_longer(tmp_path, count):
    few, many = tmp_path / "few", tmp_path / "many"
    fill(few, 100)
    fill(many, count)
    base, base_processor, _ = made(tmp_path, few)
    took, processor, page = made(tmp_path, many)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    size, published = page.stat().st_size, len(list(paths.DATA.glob("*/*.json")))
    print(f"\n100: {base:.1f} s, {base_processor:.1f} s of processor; {count}: {took:.1f} s, {processor:.1f} s of it")
    print(f"{peak / 1e6:.0f} MB, page {size / 1e3:.0f} kB")
    assert f"{count + published} runs" in page.read_text("utf-8")
    assert processor < base_processor + 10  # on a quiet machine the wall's seconds are no more; a busy one moves those
    assert peak < 1e9
    assert size < 1e6
