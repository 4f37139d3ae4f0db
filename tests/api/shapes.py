"""Holds an answer against a stored shape, field by field."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "rest"

_KINDS = {
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: _is_number(v),
    "count": lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0,
    "seconds": lambda v: _is_number(v) and v >= 0,
    "share": lambda v: _is_number(v) and 0 <= v <= 1,
    "percent": lambda v: _is_number(v) and 0 <= v <= 100 and round(v, 2) == v,
    "png data uri": lambda v: _content_of(v).startswith(b"\x89PNG"),
}


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def answer_as(kind: type[T], plain: Any) -> T:
    """The decoded answer as a described type; fails on missing, wrong and unknown fields."""
    told = msgspec.convert(plain, kind)
    assert msgspec.json.decode(msgspec.json.encode(told)) == plain
    return told


def deviations(shape: Any, answer: Any, where: str = "") -> list[str]:
    """What does not fit: missing and unknown fields, wrong types, wrong constants."""
    if isinstance(shape, dict):
        if "?" in shape and answer is None:
            return []
        if not isinstance(answer, dict):
            return [f"{where}: expected an object"]
        wanted = set(shape) - {"?"}
        wrong = [f"{where}.{name}: missing" for name in sorted(wanted - set(answer))]
        wrong += [f"{where}.{name}: unknown" for name in sorted(set(answer) - wanted)]
        for name in wanted & set(answer):
            wrong += deviations(shape[name], answer[name], f"{where}.{name}")
        return wrong
    if isinstance(shape, list):
        if not isinstance(answer, list):
            return [f"{where}: expected a list"]
        return [w for number, item in enumerate(answer) for w in deviations(shape[0], item, f"{where}[{number}]")]
    fits = any(answer == kind[1:] if kind.startswith("=") else _KINDS[kind](answer) for kind in shape.split("|"))
    return [] if fits else [f"{where}: expected {shape}, got {answer!r}"]


def differences(example: Any, answer: Any, where: str = "") -> list[str]:
    """Where the answer lacks a field of the example or has another value; more fields are allowed."""
    if isinstance(example, dict):
        return [w for k, v in example.items() for w in differences(v, answer.get(k, "missing"), f"{where}.{k}")]
    if isinstance(example, list):
        pairs = zip(example, answer, strict=True)
        return [w for number, (e, a) in enumerate(pairs) for w in differences(e, a, f"{where}[{number}]")]
    same = example == answer and type(example) is type(answer)
    return [] if same else [f"{where}: expected {example!r}, got {answer!r}"]


def _content_of(data_uri: str) -> bytes:
    return base64.b64decode(data_uri.removeprefix("data:image/png;base64,"), validate=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
