"""The product's source files, parsed once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("detector", "stream", "consumers", "api")       # imports point left only

PURE = {
    "detector": {
        "types", "errors", "config", "geometry", "preprocess", "frequency", "fusion", "face_tracker",
    },
    "stream": {
        "types", "events", "event_encoding", "config", "errors", "frame_sampler", "verdict_windows", "sprt",
        "rolling_verdicts", "face_verdicts", "file_verdict", "media_clock", "media_limits", "worker_messages",
        "protocols", "face_id_handover", "incident_case", "evidence_buffer", "incident_replay", "event_sink",
    },
    "consumers": {
        "broker", "errors", "media_contract", "sequencing", "offset_tracker", "verdict_records", "dead_letters",
        "poison_pills",
    },
    "api": {
        "routes/legacy_answers", "ingest/whip/offer", "ingest/whip/answer", "ingest/whip/trickle",
        "ingest/ice_candidates", "ingest/whip/ice_servers",
    },
}
"""Files without I/O: no asyncio, threads, clock, environment, PyAV or model runtime."""


@cache
def sources() -> dict[Path, ast.Module]:
    """Every .py file of the four packages, relative to the root."""
    return {
        path.relative_to(ROOT): ast.parse(path.read_text(), str(path))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imports(tree: ast.AST) -> set[str]:
    """Full names of all imported modules, those under TYPE_CHECKING included."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1
