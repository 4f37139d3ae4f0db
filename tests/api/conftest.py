"""One service for all tests that leave it as they find it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.api.rig import Rig, running_rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from structlog.types import EventDict, WrappedLogger

KEY, OTHER_KEY = "key-of-the-first-tenant", "key-of-the-second-tenant"


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Only warnings of the services under test."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    """All log lines with their bound fields."""
    lines: list[EventDict] = []

    def keep(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        lines.append(dict(line))
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, keep],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    yield lines
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    with running_rig(max_file_size_bytes=4 * 2**20) as running:
        yield running


@pytest.fixture(scope="session")
def keyed_rig() -> Iterator[Rig]:
    with running_rig(api_keys=f"{KEY},{OTHER_KEY}") as running:
        yield running


@pytest.fixture
def client(rig: Rig) -> Iterator[httpx.Client]:
    with rig.client() as client:
        yield client
