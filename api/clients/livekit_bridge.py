"""Video tracks of a LiveKit room as WHIP calls: one stream per track, for as long as it is there.

The SDK hands out decoded pictures. As many as the fastest sampling can look at are encoded again, each for itself, so
that the service judges them like those of any other call (ADR 15).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from aiortc.mediastreams import MediaStreamError

from api.clients.whip import TICKS, EncodedTrack, PublishOptions, publish_track
from api.errors import LiveKitRefused, PublishFailed
from consumers.livekit import RoomTrack, TrackOver
from stream.frame_sampler import Pace, rate_hz_of
from stream.still_encoder import StillEncoder
from stream.temporal_layers import FRAMES_PER_SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    import av

_AGAIN_S = 1.0
_NO_USE_IN_TRYING = (401, 403)
_MAX_PART = 48
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_~-]+")
_NOT_IN_LABEL = re.compile(r"[^A-Za-z0-9._~@:-]+")


def pictures_per_s(sample_rate_hz: float) -> float:
    """How many the service can look at: of a suspicious stream, so that no sample comes late."""
    return FRAMES_PER_SAMPLE * rate_hz_of(Pace.FAST, sample_rate_hz)


def stream_id_of(room: str, identity: str, number: int) -> str:
    """`<room>.<identity>`, and `.2` for a second track at the same time."""
    parts = [_safe(room, _NOT_IN_ID), _safe(identity, _NOT_IN_ID), *([str(number)] if number > 1 else [])]
    return ".".join(parts)


def label_of(name: str) -> str:
    """The name of a room or participant as a call's or participant's id."""
    return _safe(name, _NOT_IN_LABEL)


def _safe(name: str, unwanted: re.Pattern[str]) -> str:
    """The name if it can stay; else what can stay of it with a digest, so that two names stay two."""
    kept = unwanted.sub("-", name)[:_MAX_PART]
    return kept if kept == name and kept else f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class RoomVideoTrack(EncodedTrack):
    """Pictures of a room's track, encoded when the connection has taken the one before."""

    def __init__(self, source: RoomTrack) -> None:
        super().__init__("h264")
        self._source = source
        self._encoder = StillEncoder()
        self._first_s: float | None = None

    async def recv(self) -> av.Packet[Any]:
        """Raises MediaStreamError when there are no more."""
        try:
            picture = await self._source.take()
        except TrackOver:
            self.stop()
        if self.readyState != "live":
            raise MediaStreamError
        data = await asyncio.to_thread(self._encoder.encode, picture.planes)
        self._first_s = picture.at_s if self._first_s is None else self._first_s
        return self.sent(round((picture.at_s - self._first_s) / TICKS), data)


@dataclass(frozen=True, slots=True)
class RoomPublisher:
    """Where a room's tracks go: a service and the key for it, if it wants one. `tell` gets a line for people."""

    service: str
    room: str
    token: str | None
    tell: Callable[[str], None]

    async def __call__(self, track: RoomTrack) -> None:
        """Publishes until the track is over; begins again, with the next picture, when the service hung up. Raises
        LiveKitRefused if the service does not want calls with this key."""
        stream = stream_id_of(self.room, track.identity, track.number)
        labels = urlencode({"call_id": label_of(self.room), "participant_id": label_of(track.identity)})
        url = f"{self.service.rstrip('/')}/whip/{quote(stream)}?{labels}"
        said = ""
        while not track.over.is_set():
            try:
                await track.wait()
                self.tell(f"{stream} begins")
                stats = await publish_track(
                    url, RoomVideoTrack(track), PublishOptions(token=self.token, stop=track.over)
                )
                self.tell(f"{stream} ended by {'the service' if stats.ended_by == 'server' else 'the participant'}")
                pause_s = _AGAIN_S
            except TrackOver:
                return
            except PublishFailed as error:
                if error.refusal is not None and error.refusal.status in _NO_USE_IN_TRYING:
                    raise LiveKitRefused(str(error)) from None
                pause_s = max(_AGAIN_S, error.refusal.retry_after_s or 0.0) if error.refusal else _AGAIN_S
                if str(error) != said:
                    said = str(error)
                    self.tell(f"{stream}: {said}")
            await _pause(track, pause_s)


async def _pause(track: RoomTrack, pause_s: float) -> None:
    """Shorter if the track ends."""
    try:
        async with asyncio.timeout(pause_s):
            await track.over.wait()
    except TimeoutError:
        return
