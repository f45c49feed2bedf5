"""record.label"""

import datetime
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from siliconbench.record import store
from siliconbench.record.schema import Model, Name, Text

MOST_LABEL_BYTES = 10_000

Day = Annotated[
    str,
    BeforeValidator(lambda given: str(given) if type(given) is datetime.date else given),  # TOML has dates of its own
    StringConstraints(pattern=r"^20\d\d-[01]\d-[0-3]\d$"),
]


class Label(Model):
    """What a person says of a machine, by hand, in reports/data/<machine>/machine.toml."""

    label: Name
    price: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    date: Day | None = None
    source: Text | None = None
    note: Text | None = None


def label(path: Path) -> Label:
    """The label in one machine.toml; ValueError with the reason when it is not one."""
    data = store.content(path)
    if len(data) > MOST_LABEL_BYTES:
        raise ValueError(f"it is larger than {MOST_LABEL_BYTES:,} bytes")
    try:
        return Label.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(store.plain(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(store.plain(error)) from None
