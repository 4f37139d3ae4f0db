"""The settings reference: one row per variable, by group.

    python -m api.settings.reference > docs/settings.md
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from pydantic import SecretStr

from api.settings.base import GROUPS, all_fields
from api.settings.field import allowed_of, variable_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.fields import FieldInfo

_INTRODUCTION = """\
# Settings

This reference is for operators. It lists every environment variable that DeepGuard reads, by topic.

An empty or missing variable means its default. An invalid value ends the command with one line that names the variable
and its allowed values. `deepguard serve --help` prints this list; `deepguard doctor` checks the values on your machine.

This file is generated: `python -m api.settings.reference > docs/settings.md`.
"""


class SettingRow(NamedTuple):
    """One row of the reference."""

    name: str
    default: str
    meaning: str
    allowed: str


def settings_table() -> tuple[SettingRow, ...]:
    """Returns every setting, in the order of the groups."""
    return tuple(map(_row, all_fields().values()))


def settings_page() -> str:
    """Returns the text of `docs/settings.md`."""
    sections = [_INTRODUCTION]
    for group in GROUPS:
        rows = map(_row, group.settings.model_fields.values())
        sections.append(f"## {group.title}\n\n{_markdown(rows)}\n")
    return "\n".join(sections)


def _markdown(rows: Iterable[SettingRow]) -> str:
    lines = ["| Variable | Default | Meaning | Allowed |", "|---|---|---|---|"]
    for row in rows:
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.name}` | {default} | {row.meaning} | {row.allowed} |")
    return "\n".join(lines)


def _row(field: FieldInfo) -> SettingRow:
    value = field.default
    if value is None or value == () or isinstance(value, SecretStr):
        default = ""
    elif isinstance(value, bool):
        default = str(value).lower()
    elif isinstance(value, tuple):
        default = ",".join(value)
    else:
        default = f"{value:g}" if isinstance(value, float) else str(value)
    return SettingRow(variable_of(field), default, field.description or "", allowed_of(field))


if __name__ == "__main__":
    sys.stdout.write(settings_page())
