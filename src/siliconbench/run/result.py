"""The record of a run: the machine's state and telemetry around it, its verdict, and all sections put together."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from siliconbench.analysis import stats
from siliconbench.analysis.telemetry import heat_witness
from siliconbench.analysis.verdict import Evidence, judge
from siliconbench.machine import facts, sampler
from siliconbench.record import schema, store
from siliconbench.record.axes import DEVICES
from siliconbench.run.device import describe, peak_memory
from siliconbench.run.experiment import Answer, Parts
from siliconbench.run.passes import Bench, compiled
from siliconbench.run.selftest import Repeat

KERNEL = 0.1  # of the CPU time: more than the model's own arithmetic leaves to the system
NOT_KNOWN = {
    "busy": "the CPU is not the device",
    "system_share": "the blocks were too short to tell",
    "compiled": "torch.compile was not asked for",
    "outputs": "this is the computation that others are compared with, or it trains and its weights have changed",
}


@dataclass(frozen=True)
class Logged:
    """The machine's state before and after a run, and its telemetry (None: TELEMETRY=0)."""

    before: schema.State
    after: schema.State
    telemetry: schema.Telemetry | None

    @property
    def swap_growth_bytes(self) -> int | None:
        """The growth of the swap in use over the run, None where it could not be read."""
        before, after = self.before.swap_used_bytes, self.after.swap_used_bytes
        return None if before is None or after is None else after - before


class Log:
    """The machine's state before and after the run, and its heat and power meanwhile: started, then stopped.

    With telemetry it rests rest_s seconds before the run and after it: the idle baseline, and the cool-down.
    """

    def __init__(self, telemetry: bool, rest_s: float) -> None:
        self.before = facts.state()
        self.sampler = sampler.start() if telemetry else None
        self.rest_s = rest_s if telemetry else 0.0
        time.sleep(self.rest_s)
        self.idle_until = time.perf_counter()

    def stop(self, zero_s: float) -> Logged:
        """The states before and after, and the samples with their times counted from the run's zero."""
        ended, after = time.perf_counter(), facts.state()
        time.sleep(self.rest_s)
        idle_until_s, cooling_from_s = self.idle_until - zero_s, ended - zero_s
        telemetry = self.sampler.stop(zero_s, idle_until_s, cooling_from_s) if self.sampler else None
        return Logged(self.before, after, telemetry)


def rest_s(case: schema.Case) -> float:
    """How many seconds to look at the machine at rest: half a minute around a sustained run, else three, or less."""
    return 30.0 if case.minutes else min(3.0, case.min_seconds / 2)


@dataclass(frozen=True)
class Measured:
    """All that a run measured, from its passes to its self-tests."""

    passes: schema.Passes
    latency: schema.Latency
    limits: schema.Limits
    workers: schema.Workers
    parts: Parts
    answer: Answer
    synchronization: schema.Synchronization
    outputs: schema.Outputs | None
    repeat: Repeat
    others_share: float


def checks(bench: Bench, measured: Measured, logged: Logged) -> schema.Checks:
    """The record's section on what the run knows of its own worth."""
    forward, on_cpu = measured.passes.forward, not DEVICES[bench.device.type].accelerator
    share = stats.busy_ratio(forward.cpu_s, forward.seconds, torch.get_num_threads()) if forward and on_cpu else None
    maybe = {
        "busy": share,
        "system_share": measured.repeat.system_share,
        "compiled": compiled(bench),
        "cause": measured.answer.experiment,
        "outputs": measured.outputs,
    }
    reasons = NOT_KNOWN | {"cause": measured.answer.why}
    return schema.Checks(
        wall_s=time.perf_counter() - bench.zero_s, before=logged.before, after=logged.after,
        workers=measured.workers, cpu_share=share, others_share=measured.others_share,
        repeat_block_s=measured.repeat.block_s, system_share=measured.repeat.system_share,
        page_faults_per_image=measured.repeat.page_faults_per_image, compiled=compiled(bench),
        allowed_images_per_s=measured.parts.allowed_images_per_s, bottleneck=measured.answer.bottleneck,
        experiment=measured.answer.experiment, synchronization=measured.synchronization, outputs=measured.outputs,
        unknown={name: reasons[name] for name, value in maybe.items() if value is None},
    )  # fmt: skip


def verdict(bench: Bench, measured: Measured, checks: schema.Checks, logged: Logged) -> schema.Verdict:
    """The run's word on itself: judged on the evidence, and what a compiler or page faults add to it."""
    forward, whole, heat = measured.passes.forward, measured.passes.end_to_end, logged.telemetry
    assert forward and whole, "a run that is judged has timed both"
    evidence = Evidence(
        device_is_cpu=not DEVICES[bench.device.type].accelerator, cpu_share=checks.cpu_share,
        load_before=logged.before.load_1m, load_after=logged.after.load_1m, cores=facts.usable_cores(),
        spread=stats.spread(forward.block_s), settled=forward.settled and whole.settled,
        drift=stats.drift(whole.block_s), first_last=median(forward.block_s) / median(measured.repeat.block_s) - 1,
        heat_witness=heat_witness(heat, 0.0, checks.wall_s, logged.before, logged.after) if heat else None,
        swap_growth_bytes=logged.swap_growth_bytes, flops_ratio=measured.limits.utilization,
        others_share=checks.others_share, twice_over_once=measured.synchronization.twice_over_once,
        outputs_agree=measured.outputs is None or measured.outputs.agree,
    )  # fmt: skip
    judged = judge(evidence)
    word, reasons, share = judged.word, list(judged.reasons), checks.system_share
    if checks.compiled and (times := checks.compiled.recompiles):
        word = "noisy" if word == "clean" else word
        reasons += [f"torch.compile compiled {times} times more while it was timed: run again."]
    if word != "clean" and share is not None and share > KERNEL:
        faults = measured.repeat.page_faults_per_image
        reasons += [
            f"A cause: the kernel took {100 * share:.0f} % of the CPU time in {faults:.0f} page faults an image."
        ]
    return schema.Verdict(word=word, reasons=[store.plain(reason) for reason in reasons])


def memory(bench: Bench, logged: Logged) -> schema.Memory:
    """The record's section on memory: the peaks so far, and the growth of swap."""
    device, process, why = peak_memory(bench.device)
    unknown = {"peak_device_bytes": why} if device is None else {}
    if logged.swap_growth_bytes is None:
        unknown["swap_growth_bytes"] = "the swap in use could not be read"
    return schema.Memory(
        peak_device_bytes=device, peak_process_bytes=process, swap_growth_bytes=logged.swap_growth_bytes,
        unknown=unknown,
    )  # fmt: skip


def software(bench: Bench) -> schema.Software:
    """The record's section on what ran: versions, and the device as torch sees it."""
    installed, seen = facts.versions(), describe(bench.device)
    return schema.Software.model_validate(installed | seen | {"unknown": installed["unknown"] | seen["unknown"]})


@dataclass(frozen=True)
class Origin:
    """The run's place: its sweep (empty: one of its own), which repeat, when it was started (empty: now), where."""

    sweep: dict[str, Any]
    repeat: int
    created: str
    machine: str


def record(bench: Bench, measured: Measured, logged: Logged, origin: Origin) -> schema.Record:
    """The record of the run, validated."""
    created, found = origin.created or store.now(), checks(bench, measured, logged)
    return schema.Record(
        status="ok", error=None, created=created,
        sweep=schema.Sweep(**origin.sweep or {"id": f"{created}-0000000000", "runs": 1, "order": 1}),
        repeat=origin.repeat,
        case=bench.case, machine=facts.machine(origin.machine), software=software(bench), passes=measured.passes,
        latency=measured.latency, limits=measured.limits, memory=memory(bench, logged), telemetry=logged.telemetry,
        checks=found, verdict=verdict(bench, measured, found, logged),
        unknown={} if logged.telemetry else {"telemetry": "TELEMETRY=0"},
    )  # fmt: skip
