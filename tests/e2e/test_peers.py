"""Other people's WebRTC, each for 20 s and more, all at the same time: what `make test-peers` runs.

Who is who, and what each taught us: docs/peers.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import mean
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.api.rig import running_rig
from tests.e2e.peers.calls import CHROMIUM, KEY, Calls, everybody, streams_of
from tests.e2e.test_parity import TOLERANCE, per_sample
from tests.e2e.whip_support import SAMPLE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(600)
SOURCES = {
    "ffmpeg": "whip", "gstreamer": "whip", "libwebrtc": "whip", "janus": "rtp", "room.ann": "whip", "room.bob": "whip",
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    """Everybody, judged for 20 s."""
    with (
        running_rig(api_keys=(SecretStr(KEY),)) as rig,
        everybody(rig, tmp_path_factory.mktemp("peers")) as calls,
    ):
        calls.wait_for_all(streams_of(calls))
        yield calls


@pytest.mark.parametrize("stream", SOURCES)
def test_a_peer_is_judged(calls: Calls, stream: str) -> None:
    assert calls.is_judged(stream)
    info = calls.infos[stream]
    assert info["source"] == SOURCES[stream]
    assert (info["width_px"], info["height_px"]) == (640, 360)
    assert not info["sample"]


@pytest.mark.parametrize("stream", CHROMIUM)
def test_chromium_is_judged(calls: Calls, stream: str) -> None:
    """In every codec that its build has; Debian's has both."""
    if CHROMIUM[stream] in calls.chromium_has:
        assert calls.is_judged(stream)
    else:
        assert stream not in calls.infos


def test_calls_and_participants_have_their_names(calls: Calls) -> None:
    names = {stream: (info["call_id"], info["participant_id"]) for stream, info in calls.infos.items()}
    assert names["gstreamer"] == ("studio", "")
    assert names["janus"] == ("sfu", "ann")
    assert (names["room.ann"], names["room.bob"]) == (("room", "ann"), ("room", "bob"))


def test_a_clip_says_the_same_by_livekit(calls: Calls) -> None:
    """The same VP8 bytes by WHIP and by LiveKit, where our side encodes once more."""
    evidence = {}
    for stream in ("same-clip", "room.ann", "room.bob"):
        faces = [face for verdict in calls.good_windows(stream) for face in verdict["faces"]]
        evidence[stream] = mean(per_sample(face["llr"], face["samples"]) for face in faces)
    print({stream: round(llr, 3) for stream, llr in evidence.items()})
    assert evidence["room.ann"] == pytest.approx(evidence["same-clip"], abs=TOLERANCE)
    assert evidence["room.bob"] == pytest.approx(evidence["same-clip"], abs=TOLERANCE)


def test_who_leaves_a_room_is_not_judged_any_more_and_never_saw_us(calls: Calls) -> None:
    before_s = calls.judged_s("room.bob")
    calls.children["ann"].end()
    wait_for(calls.client, "room.ann", lambda info: info["state"] == "ended")
    wait_for(calls.client, "room.bob", lambda info: info["verdict"]["end_s"] > before_s + 3 and info["state"] == "live")
    calls.children["bob"].end()
    wait_for(calls.client, "room.bob", lambda info: info["state"] == "ended")
    seen = {name: set(json.loads(calls.said(name).splitlines()[-1])) for name in ("ann", "bob")}
    assert seen["ann"] | seen["bob"] <= {"ann", "bob"}
    assert "deepguard" not in str(seen)


def test_the_command_ends_in_order_and_tells_no_secret(calls: Calls) -> None:
    child = calls.children["livekit"]
    child.end()
    assert child.process is not None
    assert child.process.returncode == 0, calls.said("livekit")
    said = calls.said("livekit")
    assert said.splitlines()[-1] == "stopped"
    assert KEY not in said
    assert "a-secret" not in said


def test_without_the_key_it_is_turned_away(calls: Calls) -> None:
    url = f"{calls.rig.url}/whip/locked"
    command = [sys.executable, "-m", "tests.e2e.peers.ffmpeg_publisher", url, str(SAMPLE), "1"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    assert calls.client.get("/v1/streams/locked").status_code == 404
