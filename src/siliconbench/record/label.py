"""What a person says of a machine, by hand: its name, its price, where that is from."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from siliconbench.record import store
from siliconbench.record.fields import Model, Name, Text


class Label(Model):
    """What stands in reports/data/<machine>/machine.toml. TOML has dates of its own; str writes them as asked here."""

    label: Name
    price: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    date: Annotated[str, BeforeValidator(str), StringConstraints(pattern=r"^20\d\d-[01]\d-[0-3]\d$")] | None = None
    source: Text | None = None
    note: Text | None = None


def load_label(path: Path) -> Label:
    """The label in one machine.toml; ValueError with the reason when it is not one."""
    try:
        return Label.model_validate(tomllib.loads(store.content(path, 10_000).decode()))
    except (ValueError, RecursionError) as error:
        raise ValueError(store.reason(error)) from None
