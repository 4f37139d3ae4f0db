"""Names of a room's calls, and the track that pictures become."""

from __future__ import annotations

import re

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError
from typer.testing import CliRunner

from api.cli.main import app
from api.clients.livekit_bridge import RoomVideoTrack, label_of, pictures_per_s, stream_id_of
from consumers.livekit import Picture, RoomTrack
from stream.identity import LABEL, STREAM_ID
from stream.still_encoder import I420Picture

GREY = I420Picture(bytes([128]) * (32 * 32 * 3 // 2), 32, 32)
ODD_NAMES = ("", ".", "..", "a b", "ümlaut", "x" * 300, "a/b", "a.b", "user:1", "😀")


def test_a_stream_is_named_by_room_and_participant() -> None:
    assert stream_id_of("standup", "ann", 1) == "standup.ann"
    assert stream_id_of("standup", "ann", 2) == "standup.ann.2"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_room_name_becomes_a_valid_stream_id(name: str) -> None:
    for stream in (stream_id_of(name, name, 3), stream_id_of("room", name, 1)):
        assert re.fullmatch(STREAM_ID, stream)
    assert re.fullmatch(LABEL, label_of(name))


def test_names_stay_different() -> None:
    names = (*ODD_NAMES, "a-b", "a b ", "x" * 301, "ann", "ann.2")
    assert len({stream_id_of("room", name, number) for name in names for number in (1, 2)}) == 2 * len(names)


def test_pictures_are_asked_for_as_often_as_suspicion_looks() -> None:
    assert pictures_per_s(2.0) == 10.0


async def test_pictures_become_packets_with_their_times_until_the_end() -> None:
    source = RoomTrack("ann", 1, "TR_1")
    track = RoomVideoTrack(source)
    ticks = []
    for at_s in (7.0, 7.1, 7.25):
        source.put(Picture(GREY, at_s))
        packet = await track.recv()
        ticks.append(packet.pts)
        decoder = av.CodecContext.create("h264", "r")
        (frame, *_) = [*decoder.decode(packet), *decoder.decode(None)]
        assert np.ptp(frame.to_ndarray(format="yuv420p")) <= 2
    assert ticks == [0, 9000, 22500]
    assert track.frames == 3
    source.end()
    with pytest.raises(MediaStreamError):
        await track.recv()


def test_the_command_wants_key_and_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVEKIT_API_KEY", raising=False)
    told = CliRunner().invoke(app, ["livekit", "--url", "ws://127.0.0.1:1", "--room", "r"])
    assert told.exit_code == 2
    assert "LIVEKIT_API_KEY" in told.output
