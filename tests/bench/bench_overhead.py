"""`make bench`: what a run takes beside its timed passes and their warm-up, by the notebook's cells, in a fresh kernel.

Timed are the first call, the four passes, the experiment, the requests (with those before them that don't count) and
the pass at the run's end. What a bare Python takes to load torch and torchvision is told beside: no run does without.
"""

import subprocess
import sys
import time

from siliconbench import paths
from siliconbench.machine import facts
from siliconbench.record import store
from siliconbench.run.device import choose
from siliconbench.sweep import kernel

CASE = {"model": "resnet50", "batch_size": 8, "min_seconds": 1.0, "num_images": 8}
TIMED = ("together =", "latency =")  # cells of which nearly all is timed: what they record holds no warm-up


def test_the_overhead_of_a_run_by_part(tmp_path):
    device, start = choose(True).type, time.perf_counter()
    subprocess.run([sys.executable, "-c", "import gc; gc.disable(); import torch, torchvision"], check=True)
    libraries_s, start = time.perf_counter() - start, time.perf_counter()
    given = CASE | {"device": device, "results": str(tmp_path), "machine": facts.machine().slug}
    executed = kernel.execute(paths.NOTEBOOKS / "measure.ipynb", tmp_path / "run.ipynb", given)
    wall_s = time.perf_counter() - start
    ((_, record),) = store.read(tmp_path)
    passes = [p for p in (getattr(record.passes, name) for name in ("forward", "copy_", "input", "end_to_end")) if p]
    cells = [(c.metadata.papermill.duration, c.source) for c in executed.cells if c.cell_type == "code"]
    timed_s = sum(p.seconds + p.warm_up_s for p in passes) + sum(record.checks.repeat_block_s)
    timed_s += record.latency.first_forward_s
    timed_s += sum(seconds for seconds, source in cells if source.startswith(TIMED))
    print(f"\n{device}: {wall_s:.1f} s, of them {timed_s:.1f} s in timed passes and warm-up")
    for seconds, source in [(wall_s - sum(s for s, _ in cells), "kernel's start and end, saving"), *cells]:
        print(f"{seconds:6.2f} s  {source.splitlines()[0][:90]}")
    print(f"{wall_s - timed_s:6.2f} s  overhead: 6 s at most are asked of a CPU, 8 s of a GPU;")
    print(f"{libraries_s:6.2f} s  a bare Python takes to load torch and torchvision")
    assert 0 < timed_s < wall_s
