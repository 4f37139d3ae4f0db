"""How one setting is declared: its variable, its default, and what the tables of settings say of it."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, Field


def setting(default: Any, name: str, meaning: str, allowed: str, **bounds: Any) -> Any:
    return Field(
        default, validation_alias=AliasChoices(name), description=meaning, json_schema_extra={"allowed": allowed},
        **bounds,
    )


def split(value: Any) -> Any:
    """A list as the environment has it, separated by commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
