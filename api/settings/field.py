"""Declaration of one setting: its environment variable, default, meaning and allowed values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, Field

if TYPE_CHECKING:
    from enum import StrEnum

    from pydantic.fields import FieldInfo

BOOLEAN = "true or false"
_AFTER_PATH = re.compile(r"(?<=[?#]).*", re.DOTALL)


def setting(default: Any, name: str, meaning: str, allowed: str, **bounds: Any) -> Any:
    """Declares a field that is read from the variable `name`. `allowed` completes "expected …" in error messages."""
    return Field(
        default, validation_alias=AliasChoices(name), description=meaning, json_schema_extra={"allowed": allowed},
        **bounds,
    )


def split(value: Any) -> Any:
    """Splits a comma-separated list; returns any other value unchanged."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def shown(value: object) -> str:
    """Returns an invalid value for an error message; of URLs no login, and nothing from the first query on."""
    text = repr(value)
    if "@" in text:
        return "a value with a login, which is not shown"
    return _AFTER_PATH.sub("...", text) if "://" in text else text


def one_of(values: type[StrEnum]) -> str:
    """Returns the allowed-values text of an enumeration."""
    return ", ".join(values)


def variable_of(field: FieldInfo) -> str:
    """Returns the name of a setting's environment variable."""
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else ""


def allowed_of(field: FieldInfo) -> str:
    """Returns the allowed-values text of a setting."""
    extra = field.json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else ""
