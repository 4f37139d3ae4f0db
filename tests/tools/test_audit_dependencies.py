"""The audit of dependencies by what pip-audit says; a program stands for it that says what it is told to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tools.audit_dependencies import main

if TYPE_CHECKING:
    from pathlib import Path

SAFE = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "version": "4", "skip_reason": "Dependency not found on PyPI"}


def program(folder: Path, output: str, errors: str = "") -> str:
    for name, text in (("output", output), ("errors", errors)):
        (folder / name).write_text(text)
    path = folder / "pip-audit"
    path.write_text(f"#!/bin/sh\ncat {folder}/output\ncat {folder}/errors >&2\nexit 1\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("packages", "status", "words"), [
    ([SAFE, UNKNOWN], 0, "1 packages audited, 1 unknown"), ([UNKNOWN, UNKNOWN], 0, "no advisory source can be reached"),
    ([SAFE, FLAWED], 1, "b 2: CVE-1, fixed in 3"),
])  # fmt: skip
def test_vulnerabilities_fail_and_missing_advisories_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packages: list[dict[str, object]], status: int, words: str
) -> None:
    assert main(program(tmp_path, json.dumps({"dependencies": packages}))) == status
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(("errors", "status"), [
    ("ERROR: ConnectionError: host: Max retries exceeded", 0), ("ERROR: invalid requirements input", 1), ("", 1),
])  # fmt: skip
def test_a_failed_audit_fails_unless_it_could_not_connect(tmp_path: Path, errors: str, status: int) -> None:
    assert main(program(tmp_path, "", errors)) == status
