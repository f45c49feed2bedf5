"""The record of a run: the machine's state and telemetry around it, its verdict, and all sections put together."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, Self

import psutil
import torch

from siliconbench.analysis.telemetry import heat_witness
from siliconbench.analysis.verdict import judge
from siliconbench.knobs import Stopped
from siliconbench.machine import energy, facts, lock, sampler, tools
from siliconbench.machine.sources import nvml
from siliconbench.record import axes, schema, store
from siliconbench.run import device, experiment, models, passes, selftest

LOOK = "a look of make best, at the model alone"


def gpu_uuid(device: str) -> str:
    """The UUID by which NVML knows the GPU that torch uses; empty for another device. It is never recorded."""
    uuid = tools.tried(lambda: torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
    return str(uuid or "unknown") if device == "cuda" else ""


class Log:
    """The machine's state before and after a run, and its telemetry (None: TELEMETRY=0): started, then stopped.

    With telemetry it rests before the run and after it (the idle baseline, the cool-down): half a minute around a
    sustained run, else three seconds, or less, and only where energy is counted or a temperature, a fan or a power is
    told. In the rest before it, the counter of energy is polled. Meanwhile no other process may measure. With a
    notebook's cell that fails, all that ends; so it does with the next run in the same process."""

    runs = 0  # of this process

    def __init__(self, telemetry: bool, case: schema.Case) -> None:
        lock.free()  # by an earlier run of this process
        lock.alone()
        Log.runs += 1
        self.before = self.after = facts.state()
        self.telemetry: schema.Telemetry | None = None
        self.asleep_s, self.uuid = facts.asleep_s(), gpu_uuid(case.device)
        self.slept_s: float | None = None
        self.sampler = sampler.Sampler(uuid=self.uuid) if telemetry else None
        lock.LEAVE.append(self.sampler.stop if self.sampler else int)
        self.expected_s = max(case.min_seconds, 60 * case.minutes)
        counter = energy.counter(case.device, self.uuid) if telemetry else "TELEMETRY=0"
        heard = telemetry and (case.minutes or not isinstance(counter, str) or sampler.feels(self.uuid))
        self.rest_s = (30.0 if case.minutes else min(3.0, case.min_seconds / 2)) if heard else 0.0
        if self.sampler and heard:
            self.sampler.settle(20.0)
        start = time.perf_counter()
        self.meter = counter if isinstance(counter, str) else energy.Meter(counter, max(1.0, self.rest_s))
        self.neighbours: int | str = "only NVIDIA's driver tells"
        time.sleep(max(0.0, self.rest_s - (time.perf_counter() - start)))
        self.idle_until = time.perf_counter()

    @contextmanager
    def energy_at_edges(self) -> Iterator[None]:
        """While the body runs, which is the end-to-end pass, joules are counted and neighbours on the GPU are seen."""
        since_us = time.time_ns() // 1000
        with nullcontext() if isinstance(self.meter, str) else self.meter.reading(self.expected_s):
            yield
        if self.uuid:
            own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
            self.neighbours = nvml.neighbours(self.uuid, own, since_us)

    def energy(self, zero_s: float, timed: schema.Pass) -> tuple[schema.Energy | None, str]:
        """The record's section on the energy of a pass whose start counts from zero_s; or None, and the reason."""
        start_s = zero_s + timed.start_s
        if isinstance(self.meter, str):
            return None, store.plain(self.meter)
        return self.meter.energy(start_s, start_s + timed.seconds), ""

    @property
    def around(self) -> tools.Pairs:
        """What happened around the run: how long the system slept, and who else used the GPU."""
        seen = self.neighbours if isinstance(self.neighbours, int) else None
        return {
            "slept_s": (self.slept_s, "this system has no two clocks that tell"),
            "gpu_neighbours": (seen, store.plain(str(self.neighbours))),
        }

    def stop(self, zero_s: float) -> Self:
        """The same, with the state after the run, and the samples with their times counted from the run's zero."""
        if not lock.LEAVE:
            raise Stopped("this run has ended, as a cell failed or it was stopped: run all cells again")
        ended, self.after, asleep_s = time.perf_counter(), facts.state(), facts.asleep_s()
        if self.asleep_s is not None and asleep_s is not None:
            self.slept_s = round(max(0.0, asleep_s - self.asleep_s), 3)
        time.sleep(self.rest_s)
        if self.sampler:
            self.telemetry = self.sampler.stop(zero_s, self.idle_until - zero_s, ended - zero_s)
        lock.free()
        return self


class Measured(NamedTuple):
    """All that a run measured, from its passes to its self-tests; a look of `make best` has not all of it."""

    passes: schema.Passes
    repeat: selftest.Repeat
    beside_forward: selftest.Beside
    workers: schema.Workers
    memory: device.Peak
    latency: schema.Latency | None = None
    limits: schema.Limits | None = None
    parts: experiment.Parts | None = None
    answer: experiment.Answer | None = None
    synchronization: schema.Synchronization | None = None
    outputs: schema.Outputs | str = ""  # or why they could not be compared
    precision: list[schema.Proof] | None = None
    beside_whole: selftest.Beside | None = None


def checks(bench: passes.Bench, measured: Measured, log: Log) -> schema.Checks:
    """The record's section on what the run knows of its own worth."""
    forward, on_cpu, end = measured.passes.forward, not axes.DEVICES[bench.device.type].accelerator, measured.repeat
    share = forward.cpu_s / (forward.seconds * torch.get_num_threads()) if forward and on_cpu else None
    outputs, why = (None, measured.outputs) if isinstance(measured.outputs, str) else (measured.outputs, "")
    recompiles = models.graphs_compiled() - bench.graphs if bench.case.compile else 0
    compiled = schema.Compiled(seconds=bench.first_forward_s, recompiles=recompiles) if bench.case.compile else None
    parts, answer, whole = measured.parts, measured.answer, measured.beside_whole
    found: tools.Pairs = {
        "cpu_share": (share, "the CPU is not the device"),
        "system_share": (end.system_share, "the blocks were too short to tell"),
        "compiled": (compiled, "torch.compile was not asked for"),
        "experiment": (answer and answer.experiment, answer.why if answer else LOOK),
        "allowed_images_per_s": (parts and parts.allowed_images_per_s, LOOK),
        "bottleneck": (answer and answer.bottleneck, LOOK), "synchronization": (measured.synchronization, LOOK),
        "end_to_end_others_share": (whole and whole.share, LOOK),
        "outputs": (outputs, why), "precision": (measured.precision, ""), **log.around,
    }  # fmt: skip
    return tools.section(
        schema.Checks, found, wall_s=time.perf_counter() - bench.zero_s, before=log.before, after=log.after,
        workers=measured.workers, others_share=measured.beside_forward.share,
        core_s=[*measured.beside_forward.core_s, *(whole.core_s if whole else [])],
        repeat_block_s=end.block_s, page_faults_per_image=end.page_faults_per_image,
    )  # fmt: skip


def verdict(bench: passes.Bench, measured: Measured, checks: schema.Checks, log: Log) -> schema.Verdict:
    """The run's word on itself, and what is said of its model; a fallen clock counts only while the model ran alone."""
    forward, again, limits = measured.passes.forward, measured.repeat, measured.limits
    spans = [(forward.start_s, forward.start_s + forward.seconds)] if forward else []
    spans += [(again.start_s, again.start_s + sum(again.block_s))]
    heat = heat_witness(log.telemetry, spans, log.before, log.after) if log.telemetry else None
    judged = judge(measured.passes, checks, limits.utilization if limits else None, heat, facts.usable_cores())
    lost = limits.uncounted if limits else []
    said = [*bench.notes, *([f"The FLOP counter knows nothing of {', '.join(lost)}."] if lost else [])]
    if (own := measured.workers.folder) and (warm := measured.passes.input):
        cold, why = own.cold_images_per_s, own.unknown.get("cold_images_per_s")
        said += [f"From a cold page cache data loading reads {cold:.1f} images/s, warm {warm.images_per_s:.1f}." if cold
                 else f"Data loading from a cold page cache is not known: {why}."]  # fmt: skip
    return judged.model_copy(update={"findings": [*judged.findings, *map(store.plain, said)][:16]})


def record(
    bench: passes.Bench, measured: Measured, log: Log, sweep: dict[str, Any], repeat: int, created: str, machine: str
) -> schema.Record:
    """The record of the run, validated; empty are a sweep of its own, created now, and a machine named by its chip."""
    created, found = created or store.now(), checks(bench, measured, log)
    installed, seen = facts.versions(), device.describe(bench.device, models.fingerprint(bench.model))
    whole, hand = measured.passes.end_to_end, {"process": schema.AGAIN} if Log.runs > 1 else {}
    spent, unspent = log.energy(bench.zero_s, whole) if whole else (None, "end to end was not timed")
    before, after = log.before.swap_used_bytes, log.after.swap_used_bytes
    swap = None if before is None or after is None else after - before
    held, peaks = measured.memory, {"swap_growth_bytes": (swap, "the swap in use could not be read")}
    peaks["peak_device_bytes"] = held.device_bytes, held.why
    maybe: tools.Pairs = {"energy": (spent, unspent), "telemetry": (log.telemetry, "TELEMETRY=0")}
    maybe |= {"latency": (measured.latency, LOOK), "limits": (measured.limits, LOOK)}
    return tools.section(
        schema.Record, maybe, status="ok", error=None, created=created, repeat=repeat, case=bench.case,
        machine=facts.machine(machine, log.uuid),
        sweep=schema.Sweep(**sweep or {"id": f"{created}-0000000000", "runs": 1, "order": 1}),
        software=schema.Software(**installed | seen | {"unknown": installed["unknown"] | seen["unknown"]} | hand),
        passes=measured.passes, memory=tools.section(schema.Memory, peaks, peak_process_bytes=held.process_bytes),
        checks=found, verdict=verdict(bench, measured, found, log),
    )  # fmt: skip
