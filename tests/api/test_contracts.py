"""The contract pages name what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.http.h11_protocol import RequestDeadlines
from api.routes import events_websocket
from api.routes.schemas import ImageAnswer, LimitsAnswer, ReadyAnswer, VideoAnswer
from api.uploads.spool import PICTURE_EXTENSIONS, VIDEO_EXTENSIONS
from stream.event_bus import HISTORY_EVENTS, QUEUE_EVENTS

CONTRACTS = Path(__file__).resolve().parents[2] / "docs" / "contracts"
REST = (CONTRACTS / "rest.md").read_text()
WEBSOCKET = (CONTRACTS / "websocket.md").read_text()


@pytest.mark.parametrize("shape", [ImageAnswer, VideoAnswer, LimitsAnswer, ReadyAnswer])
def test_every_field_is_documented(shape: type[ImageAnswer]) -> None:
    assert [name for name in shape.__struct_fields__ if f"`{name}`" not in REST] == []


def test_every_error_code_is_documented() -> None:
    sources = "".join(path.read_text() for path in Path(events_websocket.__file__).parent.glob("*.py"))
    codes = set(re.findall(r'(?:UploadRefused\(\d+, |Busy\(|NotFound\(|OriginRefused\()"([a-z_]+)"', sources))
    elsewhere = {"sessions_full", "sessions_pending", "session_unknown", "job_unknown", "no_ports"}
    assert {code for code in codes - elsewhere if f"`{code}`" not in REST + WEBSOCKET} <= {"client_gone"}


def test_limits_are_documented() -> None:
    assert " ".join(PICTURE_EXTENSIONS) in REST
    assert " ".join(VIDEO_EXTENSIONS) in REST
    assert f"A request head has {RequestDeadlines().head_s:.0f} s" in REST
    per_second = RequestDeadlines().body_bytes_per_s // 1024
    assert f"a body has {RequestDeadlines().body_s:.0f} s and one more for every {per_second:.0f} KiB" in REST


def test_websocket_constants_are_documented() -> None:
    for number in (
        f"every {events_websocket.HEARTBEAT_S} s",
        f"within {events_websocket.SUBSCRIBE_WITHIN_S:.0f} s",
        f"within {events_websocket.SEND_WITHIN_S:.0f} s",
        f"at most {events_websocket.MAX_MESSAGE_BYTES // 1024} KiB",
        f"{events_websocket.MAX_WATCHERS} watchers",
        f"{events_websocket.MAX_WATCHERS_PER_CALLER} of one key or address",
        f"{QUEUE_EVENTS} waited",
        f"{HISTORY_EVENTS} events",
    ):
        assert number in WEBSOCKET
    for code in (
        events_websocket.GOING_AWAY,
        events_websocket.BAD_MESSAGE,
        events_websocket.UNAUTHORIZED,
        events_websocket.TOO_SLOW,
    ):
        assert f"| {code} |" in WEBSOCKET
