"""What the fields of a record are made of: bounded texts, finite numbers, and models that refuse what is unknown."""

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema, StringConstraints, model_validator
from pydantic_core import core_schema

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ .,()+/-]{0,63}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]
Text = Annotated[str, StringConstraints(pattern=r"^[ -;=?-~]{1,500}$")]  # printable ASCII but < and >
Stamp = Annotated[str, StringConstraints(pattern=r"^20\d\d[01]\d[0-3]\dT[0-2]\d[0-5]\d[0-6]\dZ$")]
Count = Annotated[int, Field(ge=0, le=10**15)]
Positive = Annotated[int, Field(ge=1, le=10**15)]
Number = Annotated[float, Field(ge=-1e18, le=1e18, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e24, allow_inf_nan=False)]  # no cap that a fast machine could reach
Raw = Annotated[list[Seconds], Field(min_length=1, max_length=200_000)]  # a day of half seconds is 172,800


def one_of(names: Iterable[str]) -> Any:
    """What limits a text to the names of a table: pydantic's Literal, from a table that may grow."""
    return GetPydanticSchema(lambda _source, _handler: core_schema.literal_schema(list(names)))


def was(name: str) -> Any:
    """The field that records of schema 1 call by this name: here is where an old name becomes the code's."""
    return Field(validation_alias=name, serialization_alias=name)


class Model(BaseModel):
    """The base of all: strict types, no field but those named, never changed after it is made."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, protected_namespaces=(), validate_by_name=True, validate_by_alias=True
    )


class Section(Model):
    """A part in which a field may be unknown: None, with its reason in `unknown` under the JSON's name."""

    unknown: dict[Name, Text] = Field(default_factory=dict, max_length=64)

    @model_validator(mode="after")
    def each_none_has_a_reason(self) -> Self:
        """The section itself; ValueError if a None has no reason, or a known value has one."""
        values = {info.serialization_alias or f: getattr(self, f) for f, info in type(self).model_fields.items()}
        if bare := [f for f, v in values.items() if v is None and f not in self.unknown]:
            raise ValueError(f"None without a reason in unknown: {', '.join(bare)}")
        if stray := [f for f in self.unknown if values.get(f) is not None]:
            raise ValueError(f"a reason for a value that is known: {', '.join(stray)}")
        return self
