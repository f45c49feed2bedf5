"""`make best`: the fastest setting of one model here with the CPU's outputs: a search by quick looks, then the ladder
from the plain program to it, each rung in fresh processes, interleaved; then both ends in full."""

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import torch

from siliconbench import paths
from siliconbench.analysis import ladder
from siliconbench.knobs import Given
from siliconbench.machine import facts, tuning
from siliconbench.record import axes, host, store
from siliconbench.record.schema import Case, Record
from siliconbench.run.device import architecture, choose, lacks
from siliconbench.run.models import no_compiler
from siliconbench.sweep import lines, runner, terminal
from siliconbench.sweep.plan import Runs, cases, numbered, planned, shuffled
from siliconbench.sweep.search import Options, Search

SEARCH_S = 90.0  # the search ends after so long: the ladder and the runs in full take as long again, and more
COMPILE_S = {"cpu": 30.0}  # a first look with the compiler is taken to last so long; elsewhere it is worth any wait
LOOK_S = 120.0  # a look that takes longer, to compile or because it hangs, is ended


def options(device: torch.device, machine: host.Machine) -> Options:
    """What can be chosen here, the plain choice first."""
    on_cpu, cores, own = device.type == "cpu", facts.usable_cores(), torch.get_num_threads()
    fast = [level.cores for level in machine.core_levels or [] if level.cores][:1]
    counts = sorted({n for n in (own // 2, *fast, cores) if 2 <= n <= cores} - {own}) if on_cpu else []
    emulated = {"bf16"} if architecture(device) == "AVX2" else {}  # ten times slower: one look is a third of the search
    found = (p for p, axis in axes.PRECISIONS.items() if device.type in axis.searched_on and p not in emulated)
    narrow = [p for p in found if not lacks(device, p)]
    modes = (True, "reduce-overhead") if device.type == "cuda" else (True,)
    return {
        "threads": (None, *counts), "compile": (False, *(() if no_compiler(device) else modes)),
        "allocator": ("system", "tuned") if on_cpu and tuning.tuned() else ("system",),
        "precision": ("fp32", *narrow), "memory_format": tuple(axes.LAYOUTS),
    }  # fmt: skip


class Looks:
    """Looks at settings, a line a look, by a child for each environment; on a CPU by a fresh one where it decides."""

    def __init__(self, request: bool, say: Callable[[Case, float, str], None]) -> None:
        self.request, self.say, self.children = request, say, dict[str, Popen[str]]()
        self.compile_s = 0.0  # the longest look with the compiler so far

    def child(self, case: Case) -> Popen[str]:
        """The process for this setting's environment."""
        key, command = str(own := tuning.variables(dict(case))), [sys.executable, "-m", "siliconbench.sweep.look"]
        if key not in self.children or self.children[key].poll() is not None:
            env = os.environ | own
            self.children[key] = Popen(command, env=env, text=True, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        return self.children[key]

    def look(self, case: Case, least: float) -> float:
        """The images/s a child sees of a setting, said aloud; 0: it fails or, above `least`, gives what is wrong."""
        if case.device == "cpu" and not least:  # a look that decides: to glibc, what a process freed before is a hint
            self.close()
        child, line = self.child(case), {"case": case.model_dump(), "request": self.request, "least": least}
        assert child.stdin and child.stdout, "both are pipes"
        limit, start_s = threading.Timer(LOOK_S, child.kill), time.monotonic()
        limit.start()
        try:
            print(json.dumps(line), file=child.stdin, flush=True)
            rate, why = json.loads(child.stdout.readline())
        except (OSError, ValueError):
            late = time.monotonic() - start_s >= LOOK_S
            child.kill()
            child.wait()
            rate, why = 0.0, f"it took over {LOOK_S:.0f} s" if late else "its process ended: out of memory?"
        finally:
            limit.cancel()
        self.compile_s = max(self.compile_s, (time.monotonic() - start_s) * bool(case.compile))
        self.say(case, rate, why)
        return rate

    def close(self) -> None:
        """Ends the children."""
        for child in self.children.values():
            child.kill()
            child.wait()


def searched(plain: Case, choices: Options, request: bool, kept: Path) -> list[Case]:
    """The settings from the plain one to the fastest. What was looked at is kept in a file: so the search goes on."""
    told = json.loads(kept.read_text("utf-8")) if kept.exists() else {"looks": [], "rungs": []}
    if told["rungs"]:
        return [Case(**case) for case in told["rungs"]]
    ends_s = time.monotonic() + SEARCH_S

    def say(case: Case, rate: float, why: str) -> None:
        what, left = why or f"{rate:.1f} images/s", ends_s - time.monotonic()
        print(f"  {terminal.setting(case)} b{case.batch_size}: {what} (at most {max(0, left):.0f} s left)", flush=True)
        told["looks"] = [look for look in told["looks"] if look[0] != case.model_dump()] + [[case.model_dump(), rate]]
        store.write_whole(kept, json.dumps(told))

    looks = Looks(request, say)

    def time_for(case: Case) -> bool:
        needed_s = max(looks.compile_s, COMPILE_S.get(case.device, 0.0)) if case.compile else 0.0
        return time.monotonic() + needed_s < ends_s

    found = Search(plain, choices, not request, looks.look, time_for)
    found.known = {Case(**case): rate for case, rate in told["looks"]}
    try:
        found.run()
        told["rungs"] = [case.model_dump() for case in found.rungs(found.fastest())] if found.rate else []
    finally:
        looks.close()
    if found.cut:
        print("The search ended by its time: not all that could win was looked at.")
    store.write_whole(kept, json.dumps(told))
    return [Case(**case) for case in told["rungs"]]


def in_full(seed: int, records: list[Record]) -> Runs:
    """The runs in full after the ladder: one of its plain setting and one of its best, for which there is time."""
    found = ladder.rungs(records)
    ends = dict.fromkeys(rung.case for rung in (*found[:1], ladder.best(found)) if rung and rung.rates)
    done = any(not r.sweep.search for r in records)
    return [] if done else numbered(shuffled([*ends], 1, seed, f"{records[0].sweep.id} in full"), [])


def result(records: list[Record]) -> list[str]:
    """What was found, rung by rung, then in full; and the lines to use it."""
    found, full = ladder.rungs(records), [r for r in records if not r.sweep.search and ladder.rates([r])]
    top = ladder.best(found)
    best = [r for r in [*full, *(top.looks if top else [])] if top and r.case.asked() == top.case]
    if not best:
        return ["No setting ran to its end with the right outputs: the lines above say why."]
    rows = [f"  {row.setting:<44} {row.factor:<24} {row.speed}" for row in ladder.table(found).itertuples()]
    rows += [*ladder.sentences(found, records), ladder.agreement(best[0])]
    return [*rows, "To use it:", "", lines.using(best[0]), ""]


def find(given: Given, page: runner.Page) -> int:
    """The exit status of `make best`: 0 when a setting was found, 1 when none runs."""
    device, request, machine = choose(given["USE_GPU"]), given["GOAL"] == "latency", facts.machine(given["MACHINE"])
    plain, choices = cases(given, device.type)[0], options(device, machine)
    key = hashlib.sha256(f"{plain} {request} {choices} {facts.versions()}".encode()).hexdigest()[:10]
    kept = paths.RUNS / machine.slug / f"search-{key}.json"
    if given["FRESH"]:
        kept.unlink(missing_ok=True)
    goal, on = "shortest request" if request else "most images/s", axes.DEVICES[device.type].title
    print(f"{machine.slug}: the setting of the {goal} for {plain.model} on the {on}, in about eight minutes")
    print(f"First a search, {terminal.minutes(SEARCH_S)} at most; {terminal.STOPS}", flush=True)
    if not (rungs := searched(plain, choices, request, kept)):
        print(*result([]))
        return 1
    further = partial(in_full, given["SEED"])
    plan = planned(given, device.type, machine, f"best {given['GOAL']}", further, rungs)
    print(f"Then {len(plan.runs)} runs in fresh processes: {len(rungs)} rungs; then the best in full", flush=True)
    records = runner.stages(plan, further, result, page)
    kept.unlink(missing_ok=True)
    return int(not ladder.rates(r for r in records if not r.sweep.search))
