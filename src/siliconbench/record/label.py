"""What a person says of a machine, by hand: its name, its price, where that is from."""

import datetime
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from siliconbench.record import store
from siliconbench.record.fields import Model, Name, Text

Day = Annotated[
    str,
    BeforeValidator(lambda given: str(given) if type(given) is datetime.date else given),  # TOML has dates of its own
    StringConstraints(pattern=r"^20\d\d-[01]\d-[0-3]\d$"),
]


class Label(Model):
    """What stands in reports/data/<machine>/machine.toml."""

    label: Name
    price: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    date: Day | None = None
    source: Text | None = None
    note: Text | None = None


def load_label(path: Path) -> Label:
    """The label in one machine.toml; ValueError with the reason when it is not one."""
    data = store.content(path, most_bytes=10_000)
    try:
        return Label.model_validate(tomllib.loads(data.decode()))
    except (ValueError, RecursionError) as error:
        raise ValueError(store.reason(error)) from None
