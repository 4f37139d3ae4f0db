"""Publisher process: many WHIP calls with real ICE, DTLS, SRTP and RTP, without encoding.

    python -m api.bench.publishers WHIP_URL CLIP --prefix NAME --calls N

Writes messages (`api.bench.publisher_messages`) to standard output. Ends when standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.bench import publisher_messages
from api.bench.publisher_messages import CallLost, CallRefused, CallSent, CallStarted, PublisherMessage
from api.clients.whip import Clip, ClipTrack, PublishOptions, PublishStats, load_clip, publish_track
from api.errors import PublishFailed

if TYPE_CHECKING:
    import av

CONNECT_AT_ONCE = 2
RETRY_S = 2.0           # if the endpoint sends no Retry-After
_NO_ROOM = 503
_SETTLE_S = 0.25        # the server's side of the connection is ready slightly later
_TICKS_PER_S = 90_000


class TimedTrack(ClipTrack):
    """A clip track that records the send time of each frame.

    A requested key frame is sent at once, as browsers do: the track skips to the next key frame of the clip. Media time
    continues without a gap.
    """

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self.sent_s: list[float] = []
        self.started = asyncio.Event()
        self._skipped = 0
        self._keyframe_due = False

    @property
    def late_ms(self) -> float:
        """The 95th percentile of the delay between due time and send time, in ms."""
        frame_s = self._frame_ticks / _TICKS_PER_S
        late = sorted(sent_s - self.sent_s[0] - n * frame_s for n, sent_s in enumerate(self.sent_s))
        return late[int(0.95 * (len(late) - 1))] * 1000 if late else 0.0

    @property
    def _frame_ticks(self) -> float:
        """Ticks per frame; benchmark clips have a constant frame rate."""
        return self.clip.duration_ticks / len(self.clip.packets)

    def next_packet(self) -> tuple[int, bytes]:
        count = len(self.clip.packets)
        if self._keyframe_due:
            at = self.frames + self._skipped
            self._skipped += min((start - at) % count for start in self.clip.starts)
            self._keyframe_due = False
        _, data = self.clip.packets[(self.frames + self._skipped) % count]
        return round(self.frames * self._frame_ticks), data

    def keyframe_requested(self) -> None:
        self._keyframe_due = True

    async def recv(self) -> av.Packet[Any]:
        if not self.sent_s:
            await asyncio.sleep(_SETTLE_S)
        packet = await super().recv()
        self.sent_s.append(time.monotonic())
        self.started.set()
        return packet


class CallPublisher:
    """Publishes all calls of this process."""

    def __init__(self, url: str, clip: Clip, options: PublishOptions) -> None:
        self._url = url.rstrip("/")
        self._clip = clip
        self._options = options
        self._connecting = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def run(self, prefix: str, count: int) -> None:
        """Publishes until `options.stop` is set. A failed call is reported; the others continue."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._call(f"{prefix}{number}"))

    async def _call(self, stream: str) -> None:
        """Publishes one call; retries while the endpoint answers 503."""
        while not self._options.stop.is_set():
            track = TimedTrack(self._clip)
            try:
                stats = await self._publish(stream, track)
            except PublishFailed as error:
                refusal = error.refusal
                if refusal is None or refusal.status != _NO_ROOM:
                    _write(CallLost(stream, str(error)))
                    return
                _write(CallRefused(stream, str(error), refusal.answered_s * 1000))
                await self._pause(refusal.retry_after_s or RETRY_S)
                continue
            if stats.ended_by == "server":
                _write(CallLost(stream, "the server ended the call"))
            _write(CallSent(stream, [round(at_s, 4) for at_s in track.sent_s], stats.payload_bytes, track.late_ms))
            return

    async def _publish(self, stream: str, track: TimedTrack) -> PublishStats:
        """Publishes one call; at most two connect at a time. Raises PublishFailed."""
        async with self._connecting:
            publishing = asyncio.create_task(publish_track(f"{self._url}/{stream}", track, self._options))
            started = asyncio.create_task(track.started.wait())
            await asyncio.wait((publishing, started), return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
        if track.sent_s:
            _write(CallStarted(stream, track.sent_s[0]))
        return await publishing

    async def _pause(self, seconds: float) -> None:
        """Waits the requested time plus up to 50 % jitter."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(1, 1.5)):
                await self._options.stop.wait()


def _write(report: PublisherMessage) -> None:
    sys.stdout.buffer.write(publisher_messages.encode(report) + b"\n")
    sys.stdout.buffer.flush()


async def _run(args: argparse.Namespace) -> None:
    options = PublishOptions()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, options.stop.set)
    clip = load_clip(args.clip)
    waiting = asyncio.create_task(_input_closed())
    waiting.add_done_callback(lambda _: options.stop.set())
    try:
        await CallPublisher(args.url, clip, options).run(args.prefix, args.calls)
    finally:
        waiting.cancel()


async def _input_closed() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish one clip as many calls.")
    parser.add_argument("url", help="URL of the WHIP endpoint, without the stream id")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--prefix", required=True, help="streams are called PREFIX0, PREFIX1, ...")
    parser.add_argument("--calls", type=int, required=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # the parent process handles Ctrl-C
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
