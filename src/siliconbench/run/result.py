"""The record of a run: the machine's state and telemetry around it, its verdict, and all sections put together."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

import torch

from siliconbench.analysis import stats
from siliconbench.analysis.telemetry import heat_witness
from siliconbench.analysis.verdict import Evidence, judge
from siliconbench.machine import facts, sampler
from siliconbench.machine.tools import explained, section
from siliconbench.record import schema, store
from siliconbench.record.axes import DEVICES
from siliconbench.run import models
from siliconbench.run.device import Peak, describe
from siliconbench.run.experiment import Answer, Parts
from siliconbench.run.passes import Bench
from siliconbench.run.selftest import Repeat


class Log:
    """The machine's state before and after a run, and its telemetry (None: TELEMETRY=0): started, then stopped.

    With telemetry it rests before the run and after it (the idle baseline, the cool-down): half a minute around a
    sustained run, else three seconds, or less.
    """

    def __init__(self, telemetry: bool, case: schema.Case) -> None:
        self.before = self.after = facts.state()
        self.telemetry: schema.Telemetry | None = None
        self.sampler = sampler.Sampler() if telemetry else None
        self.rest_s = (30.0 if case.minutes else min(3.0, case.min_seconds / 2)) if telemetry else 0.0
        time.sleep(self.rest_s)
        self.idle_until = time.perf_counter()

    def stop(self, zero_s: float) -> Self:
        """The same, with the state after the run, and the samples with their times counted from the run's zero."""
        ended, self.after = time.perf_counter(), facts.state()
        time.sleep(self.rest_s)
        if self.sampler:
            self.telemetry = self.sampler.stop(zero_s, self.idle_until - zero_s, ended - zero_s)
        return self

    @property
    def swap_growth_bytes(self) -> int | None:
        """The growth of the swap in use over the run, None where it could not be read."""
        before, after = self.before.swap_used_bytes, self.after.swap_used_bytes
        return None if before is None or after is None else after - before


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
    precision: list[schema.Proof]
    memory: Peak
    repeat: Repeat
    others_share: float


def checks(bench: Bench, measured: Measured, log: Log) -> schema.Checks:
    """The record's section on what the run knows of its own worth."""
    forward, on_cpu, end = measured.passes.forward, not DEVICES[bench.device.type].accelerator, measured.repeat
    share = stats.busy_ratio(forward.cpu_s, forward.seconds, torch.get_num_threads()) if forward and on_cpu else None
    no_outputs = "this is the computation that others are compared with, or it trains and its weights have changed"
    recompiles = models.graphs_compiled() - bench.graphs if bench.case.compile else 0
    compiled = schema.Compiled(seconds=bench.first_forward_s, recompiles=recompiles) if bench.case.compile else None
    maybe = explained({
        "cpu_share": (share, "the CPU is not the device"),
        "system_share": (end.system_share, "the blocks were too short to tell"),
        "compiled": (compiled, "torch.compile was not asked for"),
        "experiment": (measured.answer.experiment, measured.answer.why),
        "outputs": (measured.outputs, no_outputs), "precision": (measured.precision, ""),
        **dict.fromkeys(("end_to_end_others_share", "slept_s", "gpu_neighbours"), (None, "not read")),
    })  # fmt: skip
    return schema.Checks(
        wall_s=time.perf_counter() - bench.zero_s, before=log.before, after=log.after, workers=measured.workers,
        others_share=measured.others_share, repeat_block_s=end.block_s, page_faults_per_image=end.page_faults_per_image,
        allowed_images_per_s=measured.parts.allowed_images_per_s, bottleneck=measured.answer.bottleneck,
        synchronization=measured.synchronization, **maybe,
    )  # fmt: skip


def verdict(bench: Bench, measured: Measured, checks: schema.Checks, log: Log) -> schema.Verdict:
    """The run's word on itself: judged on the evidence, and what a compiler or page faults add to it."""
    forward, whole, heat = measured.passes.forward, measured.passes.end_to_end, log.telemetry
    assert forward and whole, "a run that is judged has timed both"
    judged = judge(Evidence(
        device_is_cpu=not DEVICES[bench.device.type].accelerator, cpu_share=checks.cpu_share,
        load_before=log.before.load_1m, load_after=log.after.load_1m, cores=facts.usable_cores(),
        spread=stats.spread(forward.block_s), settled=forward.settled is not False and whole.settled is not False,
        drift=stats.drift(whole.block_s), first_last=median(forward.block_s) / median(measured.repeat.block_s) - 1,
        heat_witness=heat_witness(heat, 0.0, checks.wall_s, log.before, log.after) if heat else None,
        swap_growth_bytes=log.swap_growth_bytes, flops_ratio=measured.limits.utilization,
        others_share=checks.others_share,
        outputs_agree=measured.outputs is None or measured.outputs.agree,
    ))  # fmt: skip
    word, reasons, share = judged.word, list(judged.reasons), checks.system_share
    if checks.compiled and (times := checks.compiled.recompiles):
        word = "noisy" if word == "clean" else word
        reasons += [f"torch.compile compiled {times} times more while it was timed: run again."]
    if word != "clean" and share is not None and share > 0.1:  # the model's own arithmetic leaves the kernel less
        faults = f"{100 * share:.0f} % of the CPU time in {measured.repeat.page_faults_per_image:.0f} page faults"
        reasons += [f"A cause: the kernel took {faults} an image."]
    return schema.Verdict(word=word, reasons=[store.plain(reason) for reason in reasons], disturbed=judged.disturbed)


def record(
    bench: Bench, measured: Measured, log: Log, sweep: dict[str, Any], repeat: int, created: str, machine: str
) -> schema.Record:
    """The record of the run, validated; empty are a sweep of its own, created now, and a machine named by its chip."""
    created, found = created or store.now(), checks(bench, measured, log)
    installed, seen = facts.versions(), describe(bench.device, models.fingerprint(bench.model))
    memory = section(schema.Memory, {
        "peak_device_bytes": (measured.memory.device_bytes, measured.memory.why),
        "peak_process_bytes": (measured.memory.process_bytes, ""),
        "swap_growth_bytes": (log.swap_growth_bytes, "the swap in use could not be read"),
    })  # fmt: skip
    return schema.Record(
        status="ok", error=None, created=created, repeat=repeat, case=bench.case, machine=facts.machine(machine),
        sweep=schema.Sweep(**sweep or {"id": f"{created}-0000000000", "runs": 1, "order": 1}),
        software=schema.Software(**installed | seen | {"unknown": installed["unknown"] | seen["unknown"]}),
        passes=measured.passes, latency=measured.latency, limits=measured.limits, telemetry=log.telemetry,
        memory=memory, energy=None, checks=found, verdict=verdict(bench, measured, found, log),
        unknown={"energy": "not read"} | ({} if log.telemetry else {"telemetry": "TELEMETRY=0"}),
    )  # fmt: skip
