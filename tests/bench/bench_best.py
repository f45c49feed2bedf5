"""`make bench`: what `make best` promises. BENCH_MODEL, GOAL and USE_GPU as it takes them.

Its lines, run in a fresh process, are as fast as the looks say; and no setting of a grid is faster than the one that it
found. Both by fresh processes, interleaved, until the ratio's interval is within 3 % or 20 of each have run."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from siliconbench import knobs, paths
from siliconbench.analysis import stats
from siliconbench.machine import facts, tuning
from siliconbench.record import store
from siliconbench.record.axes import LAYOUTS, PRECISIONS
from siliconbench.record.schema import Case, Record
from siliconbench.run.device import choose
from siliconbench.sweep import best, lines
from siliconbench.sweep.plan import cases
from siliconbench.sweep.search import Search
from tests.samples import sample

TIMED = """
import time
ready, took_s = images.to({to}, memory_format=torch.{layout}), []
wait = torch.cuda.synchronize if torch.cuda.is_available() else int
with torch.inference_mode():
    for _ in range(3):
        model(ready).argmax(1)
    while sum(took_s) < 2 or len(took_s) < 3:
        wait()
        start = time.perf_counter()
        for _ in range({steps}):
            model(ready).argmax(1)
        wait()
        took_s.append(time.perf_counter() - start)
print({steps} * len(images) / sorted(took_s)[len(took_s) // 2])
"""
MODEL, GOAL = os.environ.get("BENCH_MODEL", "mobilenet_v3_small"), os.environ.get("GOAL", "throughput")


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> tuple[Search, Case, Callable[[Case], float]]:
    """The search of `make best`, what it found, and the images/s of a setting by a look in a process of its own."""
    given = knobs.read_best(
        {**{k: v for k, v in os.environ.items() if k == "USE_GPU"}, "IMAGE_MODEL": MODEL, "GOAL": GOAL}
    )
    device, request = choose(given["USE_GPU"]), GOAL == "latency"
    plain, choices = cases(given, device.type)[0], best.options(device, facts.machine())
    rungs = best.searched(plain, choices, request, tmp_path_factory.mktemp("best") / "search.json")

    def look(case: Case) -> float:
        looks = best.Looks(request, lambda case, rate, why: print(f"{case.model_dump()} {why}") if why else None)
        rate = looks.look(case, 0.0)
        looks.close()
        return rate

    search = Search(plain, choices, not request, lambda case, least: look(case), lambda case: True)
    return search, rungs[-1], look


def ratio(a: Callable[[], float], b: Callable[[], float]) -> stats.Comparison:
    """How many times as fast b is as a, in turns until that is known to 3 %, or 20 times."""
    rates = [[a(), a()], [b(), b()]]
    while (told := stats.compare(*rates)).low is not None and len(rates[0]) < 20:
        if told.high / told.low < 1.06 and len(rates[0]) > 3:
            break
        rates[0].append(a())
        rates[1].append(b())
    print(f"{told.ratio:.3f} ({told.low:.3f} to {told.high:.3f}), {len(rates[0])} of each: {rates}")
    return told


def test_the_lines_give_what_is_promised(found):
    _, case, look = found
    if GOAL == "latency":
        pytest.skip("a request is the lines and a copy of another kind")
    record = Record.model_validate(sample() | {"case": case.model_dump() | {"image_px": 224}})
    axis = PRECISIONS[case.precision]
    to = f'device="{case.device}", dtype=torch.{axis.dtype}'
    steps = 1 if case.device == "cpu" else 10
    script = lines.code(record) + TIMED.format(to=to, layout=LAYOUTS[case.memory_format], steps=steps)

    def by_lines() -> float:
        env = os.environ | tuning.variables(dict(case))
        return float(subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True).stdout)

    assert ratio(lambda: look(case), by_lines).high >= 0.97


def test_nothing_of_a_grid_is_faster(found):
    search, case, look = found
    sizes = {search.plain.batch_size, case.batch_size, 2 * case.batch_size} if search.sized else {case.batch_size}
    axes = dict(search.options)
    settings = [
        search.plain.model_copy(update=dict(zip([*axes, "batch_size"], values, strict=True)))
        for values in itertools.product(*axes.values(), sorted(sizes))
    ][:60]
    rates = {setting: look(setting) for setting in settings}
    for setting, rate in sorted(rates.items(), key=lambda pair: -pair[1])[:5]:
        print(f"{setting.model_dump(exclude_defaults=True)}: {rate:.1f}")
    top = max(rates, key=rates.__getitem__)
    store.write_whole(paths.RUNS / "grid.json", "\n".join(f"{s.model_dump()} {r}" for s, r in rates.items()))
    assert top == case or ratio(lambda: look(top), lambda: look(case)).high >= 0.97
