"""`make bench`: what a run takes beside what it times, by the notebook's cells. Wall time of a fresh kernel."""

import time

from siliconbench import paths
from siliconbench.machine import facts
from siliconbench.record import store
from siliconbench.run.device import choose
from siliconbench.sweep import kernel

CASE = {"model": "resnet50", "batch_size": 8, "min_seconds": 1.0, "num_images": 8}


def test_the_overhead_of_a_run_by_part(tmp_path):
    device, start = choose(True).type, time.perf_counter()
    given = CASE | {"device": device, "results": str(tmp_path), "machine": facts.machine().slug}
    executed = kernel.execute(paths.NOTEBOOKS / "measure.ipynb", tmp_path / "run.ipynb", given)
    wall_s = time.perf_counter() - start
    ((_, record),) = store.read(tmp_path)
    passes = [p for p in (getattr(record.passes, name) for name in ("forward", "copy_", "input", "end_to_end")) if p]
    timed_s = sum(p.seconds + p.warm_up_s for p in passes) + sum(record.latency.request_s)
    cells = [(c.metadata.papermill.duration, c.source) for c in executed.cells if c.cell_type == "code"]
    print(f"\n{device}: {wall_s:.1f} s, of them {timed_s:.1f} s in timed passes and warm-up")
    for seconds, source in [(wall_s - sum(s for s, _ in cells), "kernel's start and end, saving"), *cells]:
        print(f"{seconds:6.2f} s  {source.splitlines()[0][:90]}")
    print(f"{wall_s - timed_s:6.2f} s  overhead: 6 s at most are asked of a CPU, 8 s of a GPU")
    assert 0 < timed_s < wall_s
