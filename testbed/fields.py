"""What the fields of specifications have in common: frozen models, whole numbers, sizes with units. Pure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from testbed.units import text_to_bytes

# Of a number that is not 0, in whatever unit: no rate, time or share is beyond, and products and quotients of a few of
# them are still numbers.
LEAST_ASKED, MOST_ASKED = 1e-12, 1e18


def _size(value: object) -> object:
    try:
        return text_to_bytes(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"{error}; expected a whole number of bytes, e.g. 64K, 8MiB or 4194304") from None


def strict_int(value: object) -> object:
    """Refuse what only looks like a whole number, such as true or 1.5. Raises ValueError."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("not a whole number; expected a whole number")
    return value


Count = Annotated[int, BeforeValidator(strict_int)]
SizeBytes = Annotated[
    int, BeforeValidator(strict_int), BeforeValidator(_size), Field(json_schema_extra={"unit": "bytes; also '8MiB'"})
]


class Spec(BaseModel):
    """A frozen specification that refuses unknown fields, and numbers nothing can be reckoned with."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _can_be_reckoned_with(cls, value: Any) -> Any:
        if isinstance(value, float) and value and not LEAST_ASKED <= abs(value) <= MOST_ASKED:
            raise ValueError(f"too large or too small a number; expected 0, or {LEAST_ASKED:g} to {MOST_ASKED:g}")
        return value


class Mistakes(ValueError):
    """Several broken rules at once, for a validator to raise; each is "what; expected ..."."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__(" | ".join(mistakes))
