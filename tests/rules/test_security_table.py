"""The table of requirements in docs/security.md names tests that exist."""

from __future__ import annotations

import re

from tests.rules.source_tree import ROOT

TABLE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TABLE)


def test_every_test_in_the_table_exists() -> None:
    assert len(NAMED) > 80
    missing = [
        f"{path}::{name}" for path, name in NAMED
        if not re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []


def test_every_row_is_proved_by_a_test() -> None:
    rows = [line for line in TABLE.splitlines() if re.match(r"\| V\d", line)]
    proved = [row for row in rows if "::test_" in row]
    assert len(proved) > 30
    assert all(row.count("|") == 4 for row in proved)
