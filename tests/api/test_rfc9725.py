"""The table of RFC 9725, row by row, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.rfc9725 import TABLE, Row, markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contracts" / "whip.md"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.check.__name__)
async def test_the_demand_is_met(row: Row) -> None:
    await row.check()


def test_the_page_shows_this_table() -> None:
    assert markdown() in PAGE.read_text()


def test_every_check_belongs_to_one_row() -> None:
    assert len({row.check for row in TABLE}) == len(TABLE)
