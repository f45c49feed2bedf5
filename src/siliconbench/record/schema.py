"""The record of a run: its schema, and how it is written whole and read back with suspicion.

The only module that knows JSON. A record may come from a stranger, so nothing in it is used before every field has
passed these models: no unknown field, finite numbers, bounded lists, names made of plain letters.
Unknown is None, and each None says why in `unknown`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import core_schema

from siliconbench.record import axes

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ .,()+/-]{0,63}$")]

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]

Text = Annotated[str, StringConstraints(pattern=r"^[ -;=?-~]{1,500}$")]  # printable ASCII but < and >

Stamp = Annotated[str, StringConstraints(pattern=r"^20\d\d[01]\d[0-3]\dT[0-2]\d[0-5]\d[0-6]\dZ$")]

Count = Annotated[int, Field(ge=0, le=10**15)]

Positive = Annotated[int, Field(ge=1, le=10**15)]

Number = Annotated[float, Field(ge=-1e18, le=1e18, allow_inf_nan=False)]

Amount = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]

Seconds = Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)]

Rate = Annotated[float, Field(gt=0, le=1e24, allow_inf_nan=False)]  # no cap that a fast machine could reach

Raw = Annotated[list[Seconds], Field(min_length=1, max_length=100_000)]


@dataclass(frozen=True)
class OneOf:
    """Limits a text to the names of a table: pydantic's Literal, from a table that may grow."""

    names: Iterable[str]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(self.names))


def was(name: str) -> Any:
    """The field that records of schema 1 call by this name: here is where an old name becomes the code's."""
    return Field(validation_alias=name, serialization_alias=name)


class Model(BaseModel):
    """The base of all: strict types, no field but those named, never changed once made."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, protected_namespaces=(), validate_by_name=True, validate_by_alias=True
    )


class Section(Model):
    """A part in which a field may be unknown: None, with its reason in `unknown`."""

    unknown: dict[Name, Text] = Field(default_factory=dict, max_length=64)

    @model_validator(mode="after")
    def each_none_has_a_reason(self) -> Self:
        values = {
            info.serialization_alias or name: getattr(self, name) for name, info in type(self).model_fields.items()
        }
        if bare := [f for f, v in values.items() if v is None and f not in self.unknown]:
            raise ValueError(f"None without a reason in unknown: {', '.join(bare)}")
        if stray := [f for f in self.unknown if values.get(f) is not None]:
            raise ValueError(f"a reason for a value that is known: {', '.join(stray)}")
        return self


class Case(Model):
    """What is asked for. workers None is auto; image_px None, before the run, is the model's own."""

    model: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    batch_size: Annotated[int, Field(ge=1, le=65536)]
    device: Annotated[str, OneOf(axes.DEVICES)]
    precision: Annotated[str, OneOf(axes.PRECISIONS)] = "fp32"
    memory_format: Annotated[str, OneOf(axes.LAYOUTS)] = "contiguous"
    compile: bool = False
    mode: Annotated[str, OneOf(axes.MODES)] = "inference"
    input: Annotated[str, OneOf(axes.INPUTS)] = "fast"
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    num_images: Annotated[int, Field(ge=1, le=10**9)] = 1000
    min_seconds: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 10.0
    minutes: Annotated[float, Field(ge=0, le=1440, allow_inf_nan=False)] = 0.0
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 2021
    image_px: Annotated[int, Field(ge=8, le=4096)] | None = None

    @property
    def reference(self) -> bool:
        """Whether this is the class that is compared across machines: fp32, eager, default layout, inference."""
        return (self.precision, self.memory_format, self.compile, self.mode) == (
            "fp32",
            "contiguous",
            False,
            "inference",
        )


class Sweep(Model):
    """The `make image` that a run belongs to: its name (time and knobs), its number of runs, the run's place in it."""

    id: Annotated[str, StringConstraints(pattern=r"^20\d{6}T\d{6}Z-[0-9a-f]{10}$")]
    runs: Positive
    order: Positive


class Error(Model):
    """Why a run failed."""

    kind: Literal["out_of_memory", "killed", "worker", "unsupported", "skipped", "failed"]
    message: Text


class Level(Model):
    """The cores of one kind."""

    name: Name
    cores: Positive


class Gpu(Section):
    """One GPU."""

    name: Name
    cores: Positive | None
    memory_bytes: Positive | None


class Machine(Section):
    """What the machine is; nothing that tells whose it is."""

    slug: Slug
    chip: Name | None
    model: Name | None
    cores: Positive | None
    logical_cores: Positive | None
    core_levels: Annotated[list[Level], Field(max_length=8)] | None
    gpus: Annotated[list[Gpu], Field(max_length=64)] | None
    memory_bytes: Positive | None
    os: Name | None
    os_build: Name | None
    arch: Name | None
    driver: Name | None


class Software(Section):
    """What ran: versions, and the device, threads and flags as torch read them back."""

    siliconbench: Name
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}(\+changes)?$")] | None
    python: Name
    torch: Name | None
    torchvision: Name | None
    device_name: Name | None
    device_memory_bytes: Positive | None
    cuda: Name | None
    cudnn: Name | None
    threads: Positive | None
    interop_threads: Positive | None
    tf32_matmul: bool | None
    tf32_convolution: bool | None
    cudnn_benchmark: bool | None


class Pass(Model):
    """One timed pass: equal blocks, the raw seconds of each, the warm-up apart. start_s counts from the run's zero."""

    images: Positive
    seconds: Seconds
    images_per_s: Rate
    block_images: Positive
    block_s: Raw
    start_s: Amount
    cpu_s: Amount
    warm_up_s: Amount
    warm_up_block_s: Annotated[list[Seconds], Field(max_length=100_000)]
    settled: bool

    @model_validator(mode="after")
    def adds_up(self) -> Self:
        if self.images != self.block_images * len(self.block_s):
            raise ValueError(f"{self.images} images are not {len(self.block_s)} blocks of {self.block_images}")
        if abs(sum(self.block_s) - self.seconds) > 1e-6 * self.seconds:
            raise ValueError(f"the blocks add up to {sum(self.block_s):.6g} s, not to {self.seconds:.6g} s")
        if abs(self.images_per_s * self.seconds - self.images) > 1e-6 * self.images:
            raise ValueError(f"{self.images} images in {self.seconds:.6g} s are not {self.images_per_s:.6g} images/s")
        return self


class Passes(Section):
    """The passes of a run; the model alone, the way to the device, the loader alone, the whole."""

    forward: Pass | None
    copy_: Annotated[Pass | None, was("copy")]
    input: Pass | None
    end_to_end: Pass | None


class Latency(Section):
    """One request at a time: a batch from the host's memory to the device and through the model. Cold start apart."""

    request_images: Positive
    request_s: Raw
    build_s: Seconds
    first_forward_s: Seconds


class Kernel(Model):
    """One dense kernel of the sweep for the device's peak, and the rate it reached."""

    name: Name
    flop_per_s: Rate


class Limits(Section):
    """How fast the device can be at all, in this precision: 2 FLOP per multiply-add."""

    flop_per_image: Rate | None
    kernels: Annotated[list[Kernel], Field(max_length=32)]
    peak_flop_per_s: Rate | None
    copy_bytes_per_s: Rate | None
    bytes_per_image: Rate | None
    utilization: Annotated[Amount | None, was("utilisation")]
    roof: Annotated[Literal["compute", "bandwidth"] | None, was("binds")]


class Memory(Section):
    """Peaks in bytes, of the device's allocator and of the process; the growth of swap over the run."""

    peak_device_bytes: Count | None
    peak_process_bytes: Count | None
    swap_growth_bytes: Annotated[int, Field(ge=-(10**15), le=10**15)] | None


class Channel(Model):
    """One quantity over time, from one source, by one statistic."""

    values: Annotated[list[Number | None], Field(max_length=20_000)]
    source: Name
    version: Name
    statistic: Literal["max", "mean", "sum", "reading"]


class Telemetry(Section):
    """Heat, fans, power and clocks once a second; time_s counts from the run's zero, as the passes' start_s does.

    Samples before idle_until_s are of the machine at rest, those after cooling_from_s of its cool-down.
    """

    interval_s: Seconds
    idle_until_s: Number
    cooling_from_s: Number
    time_s: Annotated[list[Number], Field(max_length=20_000)]
    channels: Annotated[dict[Name, Channel], Field(max_length=64)]


class State(Section):
    """The machine's power and load at one moment."""

    power_source: Literal["mains", "battery"] | None
    battery_percent: Amount | None
    power_mode: Name | None
    governor: Name | None
    thermal_pressure: Name | None
    load_1m: Amount | None
    swap_used_bytes: Count | None
    free_memory_bytes: Count | None


class Tried(Model):
    """A number of workers that was tried, and what came of it."""

    workers: Count
    images_per_s: Rate


class Workers(Model):
    """The loader's processes: how many in use, how they start, and what `auto` tried."""

    used: Count
    start_method: Name
    tried: Annotated[list[Tried], Field(max_length=32)]


class Synchronization(Model):
    """The same steps timed with and without the wait, and twice the steps over once."""

    steps: Positive
    synchronized_s: Annotated[Seconds, was("waited_s")]
    launched_s: Seconds
    twice_over_once: Rate


class Outputs(Section):
    """Fixed pictures through the model on the device and, in fp32, on the CPU."""

    images: Positive
    largest_difference: Amount | None
    tolerance: Amount
    top1_agreement: Amount | None
    agree: bool


class Experiment(Model):
    """The named bottleneck replaced by cached data: what the rest then does."""

    part: Literal["forward", "copy", "input"]
    images_per_s_with: Rate
    images_per_s_without: Rate
    confirmed: bool


class Compiled(Model):
    """What torch.compile took: the seconds of the call that compiled, and how often it compiled again."""

    seconds: Seconds
    recompiles: Count


class Checks(Section):
    """What a run knows of its own worth. system_share: the kernel's share of the CPU time of the model alone."""

    wall_s: Seconds
    before: State
    after: State
    workers: Workers
    cpu_share: Annotated[Amount | None, was("busy")]
    others_share: Annotated[Amount | None, was("stolen")]
    repeat_block_s: Annotated[Raw | None, was("again_block_s")]
    system_share: Annotated[float, Field(ge=0, le=1)] | None
    page_faults_per_image: Annotated[Amount | None, was("faults_per_image")]
    compiled: Compiled | None
    allowed_images_per_s: Rate | None
    bottleneck: Annotated[Literal["forward", "copy", "input", "balanced"] | None, was("holds_back")]
    experiment: Annotated[Experiment | None, was("cause")]
    synchronization: Annotated[Synchronization | None, was("waiting")]
    outputs: Outputs | None


class Verdict(Model):
    """The run's own word on itself."""

    word: Literal["clean", "noisy", "contended", "throttled", "slowed"]
    reasons: Annotated[list[Text], Field(max_length=16)]


class Record(Section):
    """One run, schema 1. A run that failed has an error, and no more than what was known by then."""

    schema_: Annotated[int, Field(ge=1, le=1), was("schema")] = 1
    status: Literal["ok", "failed"]
    error: Error | None
    created: Stamp
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
    checks: Checks | None
    verdict: Verdict | None

    @model_validator(mode="before")
    @classmethod
    def reasons_that_follow(cls, data: Any) -> Any:
        """An ok record has no error; in a failed one the error is the reason for every part that is missing."""
        if not isinstance(data, dict) or not isinstance(data.get("unknown", {}), dict):
            return data
        failed = data.get("status") == "failed"
        parts = ("passes", "latency", "limits", "memory", "telemetry", "checks", "verdict") if failed else ("error",)
        given = {k: "the run failed" if failed else "the run did not fail" for k in parts if data.get(k) is None}
        return {**dict.fromkeys(given), **data, "unknown": given | data.get("unknown", {})}

    @model_validator(mode="after")
    def is_of_one_piece(self) -> Self:
        if (self.status == "failed") == (self.error is None):
            raise ValueError("status failed and an error belong together")
        if self.status == "ok" and (self.passes is None or self.passes.end_to_end is None or self.verdict is None):
            raise ValueError("a run that is ok has end_to_end figures and a verdict")
        if self.status == "ok" and self.case.image_px is None:
            raise ValueError("a run that is ok knows its image size")
        return self


def filled(section: type[Section], known: dict[str, Any], why: str) -> dict[str, Any]:
    """The section with None for each field that is not known, and this reason for all of them."""
    missing = [f for f in section.model_fields if f not in known and f != "unknown"]
    return dict.fromkeys(missing) | known | {"unknown": dict.fromkeys(missing, why) | known.get("unknown", {})}
