"""The models that a record, schema 2, must pass before it is used: a stranger may have made it. None is unknown."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from siliconbench.record import axes, fields
from siliconbench.record.fields import Case, Error, Model, Section, Sweep
from siliconbench.record.host import Machine, Software, State

OLDER = "measured by 0.1, whose end-to-end figures were too low: measure again with `make image`; "
OLDER += "your old records stay where they are"

AGAIN = "by hand, in a kernel that had measured before"  # its memory, its heat are another run's: it is never ranked
STOCK = 0.01  # the share of a pass's images that a loader may have had ready beforehand


class Pass(Model):
    """One timed pass: equal blocks but for a shorter last one, the raw seconds of each, the warm-up apart.

    start_s counts from the run's zero; settled None: the warm-up's blocks are too few to judge it, or none was judged;
    stock_images: those that came from what the loader had ready when the pass began, and were not made up for."""

    images: fields.Positive
    seconds: fields.Seconds
    images_per_s: fields.Rate
    block_images: fields.Positive
    last_block_images: fields.Positive
    block_s: fields.Raw
    start_s: fields.Amount
    cpu_s: fields.Amount
    warm_up_s: fields.Amount
    warm_up_block_s: Annotated[list[fields.Seconds], Field(max_length=200_000)]
    settled: bool | None
    stock_images: fields.Count

    @model_validator(mode="after")
    def adds_up(self) -> Self:
        """The pass itself; ValueError if images, seconds, rate and blocks contradict one another."""
        blocks, size, last = len(self.block_s), self.block_images, self.last_block_images
        if last > size or self.images != size * (blocks - 1) + last:
            raise ValueError(f"{self.images} images are not {blocks} blocks of {size}, the last of {last}")
        if abs(sum(self.block_s) - self.seconds) > 1e-6 * self.seconds:
            raise ValueError(f"the blocks add up to {sum(self.block_s):.6g} s, not to {self.seconds:.6g} s")
        if abs(self.images_per_s * self.seconds - self.images) > 1e-6 * self.images:
            raise ValueError(f"{self.images} images in {self.seconds:.6g} s are not {self.images_per_s:.6g} images/s")
        return self

    @property
    def equal_block_s(self) -> list[float]:
        """The seconds of its blocks but for a shorter last one, which says less than the others."""
        return self.block_s[:-1] if self.last_block_images < self.block_images else self.block_s

    @property
    def too_short(self) -> bool:
        """Whether more of its images than 1 % were the loader's stock, so that it does not tell the loader's rate."""
        return self.stock_images > STOCK * self.images


class Passes(Section):
    """The passes of a run; the model alone, the copy to the device, data loading alone, end to end."""

    forward: Pass | None
    copy_: Annotated[Pass | None, Field(alias="copy")]  # pydantic has taken the name, as it has schema
    input: Pass | None
    end_to_end: Pass | None


class Latency(Section):
    """One request at a time: a batch from the host's memory to the device and through the model. Cold start apart."""

    request_images: fields.Positive
    request_s: fields.Raw
    build_s: fields.Seconds
    first_forward_s: fields.Seconds


class Kernel(Model):
    """One dense kernel of the sweep for the device's peak, and the rate it reached."""

    name: fields.Name
    flop_per_s: fields.Rate


class Limits(Section):
    """How fast the device can be at all, in this precision: 2 FLOP per multiply-add; what operators are not counted."""

    flop_per_image: fields.Rate | None
    kernels: Annotated[list[Kernel], Field(max_length=32)]
    peak_flop_per_s: fields.Rate | None
    copy_bytes_per_s: fields.Rate | None
    bytes_per_image: fields.Rate | None
    utilization: fields.Amount | None
    roof: Literal["compute", "bandwidth"] | None
    uncounted: Annotated[list[fields.Text], Field(default_factory=list, max_length=16)]


class Memory(Section):
    """Peaks in bytes up to the end of end to end, of the device's allocator and of the process; the growth of swap."""

    peak_device_bytes: fields.Count | None
    peak_process_bytes: fields.Count | None
    swap_growth_bytes: Annotated[int, Field(ge=-(10**15), le=10**15)] | None


class Channel(Model):
    """One quantity over time, from one source, by one statistic."""

    values: Annotated[list[fields.Number | None], Field(max_length=20_000)]
    source: fields.Name
    version: fields.Name
    statistic: Literal["max", "mean", "sum", "reading"]


class Telemetry(Section):
    """Heat, fans, power and clocks once a second; time_s counts from the run's zero, as the passes' start_s does.
    Samples before idle_until_s are of the machine at rest, those after cooling_from_s of its cool-down."""

    interval_s: fields.Seconds
    idle_until_s: fields.Number
    cooling_from_s: fields.Number
    time_s: Annotated[list[fields.Number], Field(max_length=20_000)]
    channels: Annotated[dict[fields.Name, Channel], Field(max_length=64)]


class Energy(Section):
    """The energy of the end-to-end pass, by a counter that is read at its edges; update_interval_s is the counter's."""

    counter: fields.Name
    part: Literal["GPU", "package"]
    joules: fields.Amount | None
    update_interval_s: fields.Seconds | None


class Tried(Model):
    """A number of workers that was tried, and what came of each trial."""

    workers: fields.Count
    images_per_s: Annotated[list[fields.Rate], Field(min_length=1, max_length=16)]


class Workers(Model):
    """The loader's processes: how many in use, how they start, what `auto` tried, what images they are given.

    chosen_in: the run of this sweep that chose; None: this one, or the user."""

    used: fields.Count
    start_method: fields.Name
    tried: Annotated[list[Tried], Field(max_length=32)]
    chosen_in: fields.Positive | None
    encoded: fields.Encoded | None = None
    folder: fields.Folder | None = None


class Synchronization(Section):
    """The same steps timed with and without synchronizing; reads of one output value, of an idle device and after
    synchronizing; and the steps by the device's own events. None on the CPU: it is never behind."""

    steps: fields.Positive
    synchronized_s: fields.Seconds
    launched_s: fields.Seconds
    idle_read_s: fields.Seconds | None
    read_s: fields.Seconds | None
    event_s: fields.Seconds | None


class Proof(Model):
    """An operation on numbers whose low bits a narrower precision loses, against float64 on the CPU: the largest
    difference over the largest value, and what this precision allows."""

    operation: Literal["product", "convolution"]
    difference: fields.Amount
    allowed: fields.Amount
    proved: bool


class Outputs(Section):
    """Fixed images through the model on the device and, in fp32, on the CPU.

    image_scatter: the scatter of the CPU's outputs over images, in that over classes."""

    images: fields.Positive
    largest_difference: fields.Amount | None
    tolerance: fields.Amount
    top1_agreement: fields.Amount | None
    image_scatter: fields.Amount | None
    agree: bool


class Experiment(Model):
    """The bottleneck's part replaced by cached data: the throughput with that part and without it."""

    part: Literal["forward", "copy", "input"]
    images_per_s_with: fields.Rate
    images_per_s_without: fields.Rate
    confirmed: bool


class Compiled(Model):
    """What torch.compile took: the seconds of the call that compiled, and how often it recompiled."""

    seconds: fields.Seconds
    recompiles: fields.Count


class Checks(Section):
    """What a run knows of its own worth. system_share: the kernel's share of the CPU time of the model alone.

    others_share: of all cores' time, what other programs took during the model alone, and during end to end; core_s:
    the seconds of a fixed loop on one core, time after time, just before and after each of the two; slept_s: what the
    system was suspended for; gpu_neighbours: other processes that computed on the device."""

    wall_s: fields.Seconds
    before: State
    after: State
    workers: Workers
    cpu_share: fields.Amount | None
    others_share: fields.Amount | None
    end_to_end_others_share: fields.Amount | None
    slept_s: fields.Amount | None
    gpu_neighbours: fields.Count | None
    repeat_block_s: fields.Raw | None
    system_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None
    page_faults_per_image: fields.Amount | None
    compiled: Compiled | None
    allowed_images_per_s: fields.Rate | None
    bottleneck: Literal["forward", "copy", "input", "balanced"] | None
    experiment: Experiment | None
    synchronization: Synchronization | None
    precision: Annotated[list[Proof], Field(max_length=8)] | None
    outputs: Outputs | None
    core_s: Annotated[list[fields.Raw], Field(default_factory=list, max_length=8)]


class Verdict(Model):
    """The run's own word on itself, wrong: it counts nowhere. disturbed: by others, run again; findings: no doubts."""

    word: Literal["clean", "noisy", "contended", "throttled", "slowed", "wrong"]
    reasons: Annotated[list[fields.Text], Field(max_length=16)]
    disturbed: bool
    findings: Annotated[list[fields.Text], Field(default_factory=list, max_length=16)]


PARTS = ("passes", "latency", "limits", "memory", "telemetry", "energy", "checks", "verdict")


class Record(Section):
    """One run, schema 2. A run that failed has an error, and no more than what was known by then."""

    schema_: Annotated[int, Field(ge=2, le=2, alias="schema")] = 2
    method: Annotated[int, Field(ge=2, le=1000)] = axes.METHOD
    status: Literal["ok", "failed"]
    error: Error | None
    created: Annotated[str, StringConstraints(pattern=r"^20\d\d[01]\d[0-3]\dT[0-2]\d[0-5]\d[0-6]\dZ$")]
    sweep: Sweep
    repeat: Annotated[int, Field(ge=1, le=10_000)]
    case: Case
    machine: Machine
    software: Software
    passes: Passes | None
    latency: Latency | None
    limits: Limits | None
    memory: Memory | None
    telemetry: Telemetry | None
    energy: Energy | None
    checks: Checks | None
    verdict: Verdict | None

    @model_validator(mode="before")
    @classmethod
    def reasons_that_follow(cls, data: Any) -> Any:
        """An ok record has no error; in a failed one the error is the reason for every part that is missing."""
        if isinstance(data, dict) and data.get("schema") == 1:
            raise ValueError(OLDER)
        if not isinstance(data, dict) or not isinstance(data.get("unknown", {}), dict):
            return data
        failed = data.get("status") == "failed"
        parts = PARTS if failed else ("error",)
        given = {k: "the run failed" if failed else "the run did not fail" for k in parts if data.get(k) is None}
        return {**dict.fromkeys(given), **data, "unknown": given | data.get("unknown", {})}

    @model_validator(mode="after")
    def is_of_one_piece(self) -> Self:
        """The record itself; ValueError if its status and its parts contradict one another."""
        if (self.status == "failed") == (self.error is None):
            raise ValueError("status failed and an error belong together")
        if (self.case.input == "folder") != bool(self.case.folder):
            raise ValueError("images from a folder and the folder's fingerprint belong together")
        timed = self.passes and (self.passes.forward if self.sweep.search else self.passes.end_to_end)
        if self.status == "ok" and None in (timed, self.verdict, self.case.image_px):
            raise ValueError("a run that is ok has end_to_end figures and a verdict, and knows its image size")
        return self


def filled(section: type[Section], known: dict[str, Any], why: str) -> dict[str, Any]:
    """The section with None for each field that is not known, and this reason for all of them."""
    missing = [f for f, info in section.model_fields.items() if f not in known and info.is_required()]
    return dict.fromkeys(missing) | known | {"unknown": dict.fromkeys(missing, why) | known.get("unknown", {})}
