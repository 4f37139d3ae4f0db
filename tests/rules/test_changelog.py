"""The changelog and the fragments that wait for the next release."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tests.rules.source_tree import ROOT

FOLDER = ROOT / "changelog.d"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TYPES = [kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"]]


def draft() -> str:
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "999.0.0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_fragment_has_a_number_and_an_allowed_type() -> None:
    names = {path.name for path in FOLDER.iterdir()} - set(PROJECT["tool"]["towncrier"]["ignore"])
    pattern = re.compile(rf"[0-9]+\.({'|'.join(TYPES)})\.md")
    assert [name for name in sorted(names) if not pattern.fullmatch(name)] == []


def test_the_next_release_can_be_built_from_the_fragments() -> None:
    shown = draft()
    assert shown.startswith("## 999.0.0 (")
    written = " ".join(shown.split())
    fragments = [path for path in FOLDER.glob("*.md") if path.name != "README.md"]
    assert [path.name for path in fragments if " ".join(path.read_text().split()) not in written] == []


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_explained(kind: str) -> None:
    assert f"| `{kind}` |" in (FOLDER / "README.md").read_text()


def test_the_version_has_an_entry() -> None:
    released = re.findall(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[0] == PROJECT["project"]["version"]
    assert released == sorted(released, key=lambda v: tuple(map(int, v.split("."))), reverse=True)
