"""What a record is made of: bounded texts, finite numbers, models that refuse what is unknown; and a case."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetPydanticSchema, StringConstraints, model_validator
from pydantic_core import core_schema

from siliconbench.record import axes

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ .,()+/-]{0,63}$")]
Text = Annotated[str, StringConstraints(pattern=r"^[ -;=?-~]{1,500}$")]  # printable ASCII but < and >
Count = Annotated[int, Field(ge=0, le=10**15)]
Positive = Annotated[int, Field(ge=1, le=10**15)]
Number = Annotated[float, Field(ge=-1e18, le=1e18, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e24, allow_inf_nan=False)]  # no cap that a fast machine could reach
Raw = Annotated[list[Seconds], Field(min_length=1, max_length=200_000)]  # a day of half seconds is 172,800


def one_of(names: Iterable[str]) -> Any:
    """What limits a text to the names of a table: pydantic's Literal, from a table that may grow."""
    return GetPydanticSchema(lambda _source, _handler: core_schema.literal_schema(list(names)))


class Model(BaseModel):
    """The base of all: strict types, no field but those named, never changed after it is made."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_by_name=True, validate_by_alias=True)


class Section(Model):
    """A part in which a field may be unknown: None, with its reason in `unknown` under the JSON's name."""

    unknown: dict[Name, Text] = Field(default_factory=dict, max_length=64)

    @model_validator(mode="after")
    def each_none_has_a_reason(self) -> Self:
        """The section itself; ValueError if a None has no reason, or a known value has one."""
        fields, parts = type(self).model_fields, vars(self)
        missing = [fields[name].serialization_alias or name for name, value in parts.items() if value is None]
        if bare := [name for name in missing if name not in self.unknown]:
            raise ValueError(f"None without a reason in unknown: {', '.join(bare)}")
        others = [name for name in self.unknown if name not in missing]
        if stray := [name for f in parts if others and (name := fields[f].serialization_alias or f) in others]:
            raise ValueError(f"a reason for a value that is known: {', '.join(stray)}")
        return self


class Encoded(Model):
    """The JPEG images that are decoded, by turns: how many, their size, libjpeg's quality, their bytes in the mean."""

    images: Positive
    width_px: Positive
    height_px: Positive
    quality: Annotated[int, Field(ge=1, le=100)]
    mean_bytes: Positive


Span = Annotated[list[Annotated[int, Field(ge=1, le=10**6)]], Field(min_length=3, max_length=3)]


class Folder(Section):
    """A folder of the user's own images: those that can be read, those found broken; mean bytes, width and height
    (least, median, most), formats. A run reads so many, by turns: once from a cold page cache, then warm."""

    images: Positive
    left_out: Count
    mean_bytes: Positive
    width_px: Span
    height_px: Span
    formats: dict[Literal["JPEG", "PNG", "WEBP"], Positive]
    read: Positive
    cold_images_per_s: Rate | None


class Case(Model):
    """What is asked for. None: for workers auto, for threads torch's own, for asked_px the model's own image size;
    image_px: what that is, once it is built. An own model has the name of its factory, or the one that it was given.

    folder: a fingerprint of the folder that the images are from, by the number, bytes and pixels of all of them.
    ranks: processes that work on it together; devices: how many devices of the type they use."""

    model: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
    batch_size: Annotated[int, Field(ge=1, le=65536)]
    device: Annotated[str, one_of(axes.DEVICES)]
    precision: Annotated[str, one_of(axes.PRECISIONS)] = "fp32"
    memory_format: Annotated[str, one_of(axes.LAYOUTS)] = "contiguous"
    compile: bool | Annotated[str, one_of(axes.COMPILE_MODES)] = False
    mode: Annotated[str, one_of(axes.MODES)] = "inference"
    input: Annotated[str, one_of(axes.INPUTS)] = "fast"
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    num_images: Annotated[int, Field(ge=1, le=10**9)] = 256
    min_seconds: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 10.0
    minutes: Annotated[float, Field(ge=0, le=1440, allow_inf_nan=False)] = 0.0
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 2021
    image_px: Annotated[int, Field(ge=8, le=4096)] | None = None
    asked_px: Annotated[int, Field(ge=8, le=4096)] | None = None
    source: Annotated[str, one_of(axes.MODEL_SOURCES)] = "torchvision"
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    allocator: Annotated[str, one_of((*axes.ALLOCATORS, "default")), AfterValidator(
        lambda name: "system" if name == "default" else name)] = "system"  # fmt: skip
    devices: Annotated[int, Field(ge=1, le=4096)] = 1
    ranks: Annotated[int, Field(ge=1, le=4096)] = 1
    folder: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{12}|)$")] = ""

    def asked(self, **changes: Any) -> Self:
        """What the case asks for, before a run gave it its image size; with changes."""
        return self.model_copy(update={"image_px": None} | changes)

    @property
    def reference(self) -> bool:
        """Whether this is the class that is compared across machines: as torch and the system are."""
        own = (self.precision, self.memory_format, self.compile, self.mode, self.allocator, self.threads)
        return own == ("fp32", "contiguous", False, "inference", "system", None)


RESERVED = ("source", "folder", "devices", "ranks")  # the knobs' words have two, no knob asks for the others yet
PARAMETERS = [name for name in Case.model_fields if name not in ("image_px", *RESERVED)]  # what a run is given


class Sweep(Model):
    """The `make image` that a run belongs to: its name (time and knobs), its number of runs, which of them this is.

    search: a single run of a search that picks the fastest, which a lucky one wins: never a figure to rank.
    suite: the name of the fixed protocol that it follows, custom where a knob changed that, empty for any other."""

    id: Annotated[str, StringConstraints(pattern=r"^20\d{6}T\d{6}Z-[0-9a-f]{10}$")]
    runs: Positive
    order: Positive
    search: bool = False
    suite: Annotated[str, StringConstraints(pattern=r"^(sb[0-9]{2}|custom|)$")] = ""


class Error(Model):
    """Why a run failed."""

    kind: Literal["out_of_memory", "killed", "worker", "unsupported", "skipped", "failed"]
    message: Text
