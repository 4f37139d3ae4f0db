"""LiveKit bridge: publishes each video track of a room to the service by WHIP, one stream per track.

The SDK delivers decoded pictures. They are re-encoded as key frames, at the rate that the fastest sampling needs, so
that the service handles them like any other call (ADR 15).
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
from consumers.livekit import RoomTrack, TrackEnded
from stream.frame_sampler import Pace, rate_hz_of
from stream.retry_policy import RetryPolicy
from stream.still_encoder import StillEncoder
from stream.temporal_layers import FRAMES_PER_SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    import av

_RETRY_POLICY = RetryPolicy((1.0,))
_PERMANENT_REFUSALS = (401, 403)
_MAX_PART_CHARACTERS = 48
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_~-]+")
_NOT_IN_LABEL = re.compile(r"[^A-Za-z0-9._~@:-]+")


def pictures_per_s(sample_rate_hz: float) -> float:
    """Returns the pictures per second that the fastest sampling (of a suspicious stream) needs."""
    return FRAMES_PER_SAMPLE * rate_hz_of(Pace.FAST, sample_rate_hz)


def stream_id_of(room: str, identity: str, number: int) -> str:
    """Returns `<room>.<identity>`, with `.2` for a second concurrent track."""
    parts = [_safe(room, _NOT_IN_ID), _safe(identity, _NOT_IN_ID), *([str(number)] if number > 1 else [])]
    return ".".join(parts)


def label_of(name: str) -> str:
    """Converts the name of a room or participant to a call or participant id."""
    return _safe(name, _NOT_IN_LABEL)


def _safe(name: str, unwanted: re.Pattern[str]) -> str:
    """Replaces invalid characters; a digest of the name keeps changed names distinct."""
    kept = unwanted.sub("-", name)[:_MAX_PART_CHARACTERS]
    return kept if kept == name and kept else f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class RoomVideoTrack(EncodedTrack):
    """Pictures of a room's track, encoded on demand of the connection."""

    def __init__(self, source: RoomTrack) -> None:
        super().__init__("h264")
        self._source = source
        self._encoder = StillEncoder()
        self._first_s: float | None = None

    async def recv(self) -> av.Packet[Any]:
        """Returns the next picture as a key frame. Raises MediaStreamError when the track ends."""
        try:
            picture = await self._source.take()
        except TrackEnded:
            self.stop()
        if self.readyState != "live":
            raise MediaStreamError
        data = await asyncio.to_thread(self._encoder.encode, picture.planes)
        self._first_s = picture.at_s if self._first_s is None else self._first_s
        return self.sent(round((picture.at_s - self._first_s) / TICKS), data)


@dataclass(frozen=True, slots=True)
class RoomPublisher:
    """Publishes the tracks of a room to a service. `report` receives one line of text per change of a stream."""

    service: str
    room: str
    token: str | None
    report: Callable[[str], None]

    async def __call__(self, track: RoomTrack) -> None:
        """Publishes until the track ends; publishes again after the service ended the call.

        Raises LiveKitRefused if the service refuses the key.
        """
        stream = stream_id_of(self.room, track.identity, track.number)
        labels = urlencode({"call_id": label_of(self.room), "participant_id": label_of(track.identity)})
        url = f"{self.service.rstrip('/')}/whip/{quote(stream)}?{labels}"
        reported = ""
        while not track.over.is_set():
            try:
                await track.wait()
                self.report(f"{stream} starts")
                stats = await publish_track(
                    url, RoomVideoTrack(track), PublishOptions(token=self.token, stop=track.over)
                )
                self.report(f"{stream} ended by {'the service' if stats.ended_by == 'server' else 'the participant'}")
                pause_s = _RETRY_POLICY.delay_s()
            except TrackEnded:
                return
            except PublishFailed as error:
                if error.refusal is not None and error.refusal.status in _PERMANENT_REFUSALS:
                    raise LiveKitRefused(str(error)) from None
                requested_s = error.refusal.retry_after_s if error.refusal else None
                pause_s = _RETRY_POLICY.delay_s(requested_s=requested_s or 0.0)
                if str(error) != reported:
                    reported = str(error)
                    self.report(f"{stream}: {reported}")
            await _pause(track, pause_s)


async def _pause(track: RoomTrack, pause_s: float) -> None:
    """Waits `pause_s`, or until the track ends."""
    try:
        async with asyncio.timeout(pause_s):
            await track.over.wait()
    except TimeoutError:
        return
