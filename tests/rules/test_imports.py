"""Import rules: the contracts of import-linter (`pyproject.toml`), and what those cannot express."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.rules.source_tree import ROOT, imports, sources

if TYPE_CHECKING:
    from pathlib import Path

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache', '--no-logo'])"


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_imports_keep_their_contracts() -> None:
    done = subprocess.run([sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_contract_is_found(tmp_path: Path) -> None:
    for package in ("detector", "stream", "consumers", "api", "tools"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "detector" / "types.py").write_text("from api import app\n")
    (tmp_path / "api" / "app.py").touch()
    config = tmp_path / "pyproject.toml"
    contracts = (ROOT / "pyproject.toml").read_text().split("[tool.importlinter]")[1].split("[[tool")
    config.write_text("[tool.importlinter]" + "[[tool".join(contracts[:2]))
    done = subprocess.run([sys.executable, "-c", LINT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "detector.types -> api.app" in done.stdout


def test_the_environment_is_read_in_one_place() -> None:
    reads = re.compile(r"environ\.get|environ\[|getenv\(")
    readers = {str(path) for path in sources() if reads.search((ROOT / path).read_text())}
    assert readers <= {"api/settings/base.py"}


def test_media_from_clients_is_never_opened_by_opencv() -> None:
    assert not [str(path) for path in sources() if "VideoCapture(" in (ROOT / path).read_text()]


def test_nothing_is_unpickled() -> None:
    assert not [
        str(path)
        for path, tree in sources().items()
        if roots(imports(tree)) & {"pickle", "joblib", "shelve", "dill"} and path.parts[:2] != ("detector", "training")
    ]
