from __future__ import annotations

import asyncio
import socket
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import worker_messages
from stream.errors import ChannelBroken
from stream.types import Codec, DropCause, FacePicture, FrameCounts, MediaUnit, ModelRef, Observation, Pictures
from stream.worker_channel import MAX_MESSAGE_BYTES, WorkerChannel, pack, receive
from tests.stream.observations import face

COUNTS = FrameCounts(received=9, decoded=8, sampled=2, scored=1, dropped={"queue_full": 1})
UNIT = MediaUnit(
    stream="s", epoch=3, sequence=7, codec=Codec.VP8, payload=b"\0\xff" * 50, pts_s=0.25, capture_s=1e9, keyframe=True
)
SEEN = Observation(
    stream="s", epoch=3, sequence=7, cell=-1, frame_number=0, pts_s=0.0, capture_s=1e9, width_px=640, height_px=360,
    faces=(face(),), unscored="", preview_jpeg=b"\xff\xd8",
    pictures=Pictures(jpeg=b"\xff\xd8", faces=(FacePicture(track=1, png=b"\x89PNG", spectrum=(0.5, -1.5)),)),
)
TO_WORKER = [
    worker_messages.OpenStream(
        stream="s", epoch=3, codec=Codec.H264, rate_hz=2.0, phase=0.5, first_track=4, after_cell=-1
    ),
    worker_messages.FeedUnit(unit=UNIT),
    worker_messages.SetPace(stream="s", epoch=3, pace=2),
    worker_messages.CloseStream(stream="s", epoch=3),
    worker_messages.RunJob(job="j", path="p", max_samples=5, rate_hz=2.0, heat_maps=True),
    worker_messages.CancelJob(job="j"),
    worker_messages.Ping(nonce=5),
]
FROM_WORKER = [
    worker_messages.Hello(pid=4, model=ModelRef(name="n", version="1", sha256="0"), problem=""),
    worker_messages.Consumed(stream="s", epoch=3, units=2, counts=COUNTS, refused=((7, DropCause.DECODE_ERROR),)),
    worker_messages.Observed(observation=SEEN),
    worker_messages.KeyframeNeeded(stream="s", epoch=3),
    worker_messages.StreamFailed(stream="s", epoch=3, cause=DropCause.DECODE_ERROR, message="m"),
    worker_messages.StreamClosed(stream="s", epoch=3, counts=COUNTS),
    worker_messages.FileFrame(
        job="j", frame_number=1, pts_s=0.1, width_px=2, height_px=2, faces=(face(),), unscored="no_model", done=1,
        planned=2, heat_map_png=b"\x89PNG",
    ),
    worker_messages.JobDone(
        job="j", file_type="video", container="mp4", codec="h264", total_frames=3, duration_s=0.1, bad_frames=0,
        fps=30.0,
    ),
    worker_messages.JobFailed(job="j", code="truncated", message="m", status=422),
    worker_messages.Pong(nonce=5, busy_s=0.5),
]


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def taken(data: bytes) -> list[object]:
    """Returns what a worker reads from these bytes, up to their end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=lambda: (ours.sendall(data), ours.shutdown(socket.SHUT_WR)))
        sender.start()
        channel = WorkerChannel(theirs)
        try:
            return list(iter(channel.receive, None))
        finally:
            sender.join()


def test_messages_to_a_worker_round_trip() -> None:
    assert taken(b"".join(map(pack, TO_WORKER))) == TO_WORKER
    assert {type(message) for message in TO_WORKER} == set(worker_messages.ToWorker.__args__)


async def test_messages_from_a_worker_round_trip() -> None:
    reader = reader_of(b"".join(map(pack, FROM_WORKER)))
    assert [await receive(reader) for _ in FROM_WORKER] == FROM_WORKER
    assert {type(message) for message in FROM_WORKER} == set(worker_messages.FromWorker.__args__)


async def test_workers_send_whole_messages_from_several_threads() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    channel = WorkerChannel(theirs)
    message = worker_messages.Observed(observation=msgspec.structs.replace(SEEN, preview_jpeg=bytes(100_000)))
    threads = [threading.Thread(target=lambda: [channel.send(message) for _ in range(20)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert [await receive(reader) for _ in range(60)] == [message] * 60
    for thread in threads:
        thread.join()
    theirs.close()
    channel.close()
    writer.close()
    await writer.wait_closed()


def test_an_end_within_a_message_ends_the_channel() -> None:
    data = pack(TO_WORKER[1])
    for size in (0, 3, 4, len(data) - 1):
        assert taken(data[:size]) == []


async def test_a_worker_that_ends_within_a_message_is_lost() -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await receive(reader_of(pack(FROM_WORKER[0])[:-1]))


def test_messages_that_are_too_long_are_refused() -> None:
    with pytest.raises(ChannelBroken):
        pack(worker_messages.JobFailed(job="j", code="c", message="x" * MAX_MESSAGE_BYTES, status=422))


@given(st.binary(max_size=200))
async def test_other_bytes_break_only_the_connection(data: bytes) -> None:
    framed = len(data).to_bytes(4, "big") + data
    with pytest.raises(ChannelBroken):
        await receive(reader_of(framed))


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES + 1, 2**32 - 1])
async def test_announced_sizes_are_bounded(size: int) -> None:
    with pytest.raises(ChannelBroken):
        await receive(reader_of(size.to_bytes(4, "big")))
    with pytest.raises(ChannelBroken):
        taken(size.to_bytes(4, "big"))
