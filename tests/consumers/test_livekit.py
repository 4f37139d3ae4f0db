"""LiveKit: token, tracks and errors. Tests with a real room are in tests/e2e."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from consumers.errors import RoomRefused
from consumers.livekit import Picture, RoomConfig, RoomTrack, RoomTracks, TrackEnded, join_token, retry_reason
from stream.still_encoder import I420Picture

CONFIG = RoomConfig("wss://sfu.example.com", "standup", "key", "a-secret-that-is-long-enough-for-hs256")


def picture(at_s: float) -> Picture:
    return Picture(I420Picture(b"", 0, 0), at_s)


def test_the_token_allows_only_hidden_subscription() -> None:
    claims = jwt.decode(join_token(CONFIG), CONFIG.api_secret, algorithms=["HS256"], issuer="key")
    assert (claims["sub"], claims["kind"]) == (CONFIG.identity, "agent")
    assert claims["video"] == {
        "room": "standup", "roomJoin": True, "hidden": True, "canSubscribe": True, "canPublish": False,
        "canPublishData": False, "canUpdateOwnMetadata": False,
    }


def test_each_config_has_its_own_identity_and_hides_the_secret() -> None:
    assert CONFIG.identity != RoomConfig("", "", "", "").identity
    assert CONFIG.api_secret not in repr(CONFIG)


async def test_only_the_newest_picture_is_buffered() -> None:
    track = RoomTrack("ann", 1, "TR_1")
    track.put(picture(1.0))
    track.put(picture(2.0))
    assert (await track.take()).at_s == 2.0
    taking = asyncio.ensure_future(track.take())
    await asyncio.sleep(0)
    track.put(picture(3.0))
    assert (await taking).at_s == 3.0


async def test_the_end_of_a_track_wakes_waiting_readers() -> None:
    track = RoomTrack("ann", 1, "TR_1")
    waiting = [asyncio.ensure_future(track.take()), asyncio.ensure_future(track.wait())]
    await asyncio.sleep(0)
    track.end()
    for task in waiting:
        with pytest.raises(TrackEnded):
            await task
    track.put(picture(1.0))
    with pytest.raises(TrackEnded):
        await track.take()


async def test_tracks_of_a_participant_reuse_the_lowest_free_number() -> None:
    tracks = RoomTracks()
    camera, screen, bob = tracks.add("ann", "TR_1"), tracks.add("ann", "TR_2"), tracks.add("bob", "TR_3")
    assert (camera.number, screen.number, bob.number) == (1, 2, 1)
    tracks.end("TR_1")
    assert camera.over.is_set()
    assert tracks.add("ann", "TR_4").number == 1
    assert tracks.add("ann", "TR_5").number == 3
    again = tracks.add("ann", "TR_2")       # as after a reconnect
    assert screen.over.is_set()
    assert again.number == 2


async def test_a_leaving_participant_ends_all_its_tracks() -> None:
    tracks = RoomTracks()
    camera, screen, bob = tracks.add("ann", "TR_1"), tracks.add("ann", "TR_2"), tracks.add("bob", "TR_3")
    tracks.end_participant("ann")
    tracks.end("TR_unknown")
    assert (camera.over.is_set(), screen.over.is_set(), bob.over.is_set()) == (True, True, False)
    tracks.end_all()
    assert bob.over.is_set()


@pytest.mark.parametrize("text", [
    f"engine: signal failure: client error: 401 Unauthorized - invalid token: {join_token(CONFIG)}, error: bad",
    "engine: signal failure: client error: 403 Forbidden",
    "engine: signal failure: failed to parse the url: relative URL without a base",
])
def test_permanent_failures_are_refused_without_the_token(text: str) -> None:
    with pytest.raises(RoomRefused) as refused:
        retry_reason(OSError(text))
    assert "eyJ" not in str(refused.value)


def test_an_unreachable_server_is_retried() -> None:
    assert "refused" in retry_reason(OSError("IO error: Connection refused (os error 111)"))


def test_a_short_secret_is_accepted() -> None:
    assert join_token(RoomConfig("", "r", "devkey", "secret"))       # a warning would fail the test
