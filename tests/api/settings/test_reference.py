from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from api.settings.base import GROUPS, Settings
from api.settings.reference import settings_page, settings_table

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "settings.md"


def test_the_page_in_docs_is_current() -> None:
    assert PAGE.read_text() == settings_page(), "run: python -m api.settings.reference > docs/settings.md"


def test_the_module_prints_the_page() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api.settings.reference"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == settings_page()


def test_every_setting_is_in_exactly_one_group() -> None:
    grouped = [name for group in GROUPS for name in group.settings.model_fields]
    assert sorted(grouped) == sorted(Settings.model_fields)


def test_the_reference_opens_with_the_port_and_explains_every_row() -> None:
    rows = settings_table()
    assert rows[0].name == "PORT"
    assert all(row.meaning and row.allowed for row in rows)
    assert len({row.name for row in rows}) == len(rows)
