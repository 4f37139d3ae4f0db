"""Other people's WebRTC, each for 20 s and more, all at the same time: what `make test-peers` runs.

`docs/send-video.md` describes the peers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import mean
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.api.rig import running_rig
from tests.e2e.peers.calls import CHROMIUM, KEY, Calls, everybody, streams_of
from tests.e2e.peers.livekit_room import API_KEY, API_SECRET
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
    """All publishers with verdicts for 20 s."""
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


def test_a_forward_of_janus_begins_with_the_key_frame_that_we_ask_for(calls: Calls) -> None:
    """Left alone, its publisher sends one at its start and none for a long time, and the room asks for none."""
    forwarded_s = float(calls.said("janus").splitlines()[-1])
    assert 0 < calls.infos["janus"]["started_s"] - forwarded_s < 30


def test_a_clip_gets_the_same_verdicts_by_livekit(calls: Calls) -> None:
    """The same VP8 bytes by WHIP and by LiveKit, where our side encodes once more."""
    evidence = {}
    for stream in ("same-clip", "room.ann", "room.bob"):
        faces = [face for verdict in calls.good_windows(stream) for face in verdict["faces"]]
        evidence[stream] = mean(per_sample(face["llr"], face["samples"]) for face in faces)
    print({stream: round(llr, 3) for stream, llr in evidence.items()})
    assert evidence["room.ann"] == pytest.approx(evidence["same-clip"], abs=TOLERANCE)
    assert evidence["room.bob"] == pytest.approx(evidence["same-clip"], abs=TOLERANCE)


@pytest.mark.parametrize(("secret", "key", "told"), [
    ("another-secret-of-some-length-0123456789", KEY, "refuses the login"),
    (API_SECRET, "another-key", "answered 401"),
], ids=["livekit", "service"])
def test_the_command_ends_where_its_credentials_are_refused(calls: Calls, secret: str, key: str, told: str) -> None:
    command = [sys.executable, "-m", "api.cli", "livekit", "--url", calls.livekit.url, "--room", "room"]
    refused = subprocess.run(
        [*command, "--to", calls.rig.url, "--key-stdin"], input=f"{key}\n", capture_output=True, text=True, timeout=120,
        env={**os.environ, "LIVEKIT_API_KEY": API_KEY, "LIVEKIT_API_SECRET": secret}, check=False,
    )
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr
    assert "eyJ" not in refused.stderr + refused.stdout      # the token, which LiveKit's server sends back


def test_a_participant_that_leaves_the_room_ends_its_stream(calls: Calls) -> None:
    before_s = calls.judged_s("room.bob")
    calls.children["ann"].end()
    wait_for(calls.client, "room.ann", lambda info: info["state"] == "ended")
    wait_for(calls.client, "room.bob", lambda info: info["verdict"]["end_s"] > before_s + 3 and info["state"] == "live")


def test_a_room_whose_server_crashed_is_watched_again(calls: Calls) -> None:
    before = calls.infos["room.bob"]["epoch"]
    calls.livekit.kill()
    calls.livekit.start()
    wait_for(
        calls.client, "room.bob",
        lambda info: info["epoch"] > before and (info["verdict"] or {"samples": 0})["samples"] > 0, 120,
    )


def test_the_bridge_is_hidden_and_ends_with_the_room(calls: Calls) -> None:
    calls.children["bob"].end()
    wait_for(calls.client, "room.bob", lambda info: info["state"] == "ended")
    command = calls.children["livekit"].process
    assert command is not None
    assert command.wait(60) == 0, calls.said("livekit")
    said = calls.said("livekit")
    assert said.splitlines()[-1] == "the room was closed"
    assert KEY not in said
    assert API_SECRET not in said
    seen = [set(json.loads(calls.said(name).splitlines()[-1])) for name in ("ann", "bob")]
    assert seen[0] | seen[1] == {"ann", "bob"}


def test_without_the_key_it_is_turned_away(calls: Calls) -> None:
    url = f"{calls.rig.url}/whip/locked"
    command = [sys.executable, "-m", "tests.e2e.peers.ffmpeg_publisher", url, str(SAMPLE), "1"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    assert calls.client.get("/v1/streams/locked").status_code == 404
