"""LiveKit room client: joins a room as a hidden participant and delivers the pictures of every video track.

Needs the extra `livekit`. The SDK's native WebRTC engine decodes the tracks. A panic of the engine ends the process,
so this never runs in the server process.
"""

from __future__ import annotations

import asyncio
import datetime
import re
import secrets
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import jwt
import structlog
from livekit import rtc

from consumers.errors import RoomRefused
from stream.retry_policy import RetryPolicy
from stream.still_encoder import I420Picture

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

_TOKEN_LIFE = datetime.timedelta(hours=1)   # the server renews it while the participant is in the room
_REJOIN_POLICY = RetryPolicy.exponential(1.0, 30.0, jitter=0.5)
_STABLE_S = 10.0
_SUBSCRIBE_EVERY_S = 3.0
_TOKEN = re.compile(r"eyJ[A-Za-z0-9._-]+")
_REFUSED = re.compile(r"client error: 40[013]|parse the url")
_QUARTER_TURNS: dict[object, int] = {
    rtc.VideoRotation.VIDEO_ROTATION_0: 0, rtc.VideoRotation.VIDEO_ROTATION_90: 1,
    rtc.VideoRotation.VIDEO_ROTATION_180: 2, rtc.VideoRotation.VIDEO_ROTATION_270: 3,
}
_FINAL_REASONS = {
    rtc.DisconnectReason.ROOM_DELETED: "the room was deleted",
    rtc.DisconnectReason.ROOM_CLOSED: "the room was closed",
    rtc.DisconnectReason.PARTICIPANT_REMOVED: "this participant was removed from the room",
    rtc.DisconnectReason.DUPLICATE_IDENTITY: "another participant joined with this identity",
}


def _new_identity() -> str:
    return f"deepguard-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class RoomConfig:
    """The room to watch, the login, and the maximum of pictures per second and track, `rate_hz`."""

    url: str
    room: str
    api_key: str
    api_secret: str = field(repr=False)
    rate_hz: float = 10.0
    identity: str = field(default_factory=_new_identity)


class Picture(NamedTuple):
    """One frame of a track. `at_s` is the time of the engine's clock in seconds, monotonic per track."""

    planes: I420Picture
    at_s: float


class TrackEnded(Exception):
    """The track ended: it was unpublished, or its participant or the connection is gone."""


class RoomTrack:
    """One video track; buffers only its newest picture.

    `number` counts a participant's concurrent tracks from 1. `over` is set at the end of the track.
    """

    def __init__(self, identity: str, number: int, sid: str) -> None:
        self.identity = identity
        self.number = number
        self.sid = sid
        self.over = asyncio.Event()
        self._newest: Picture | None = None
        self._changed = asyncio.Event()

    def put(self, picture: Picture) -> None:
        self._newest = picture
        self._changed.set()

    def end(self) -> None:
        self.over.set()
        self._changed.set()

    async def wait(self) -> None:
        """Waits for a picture that has not been taken. Raises TrackEnded."""
        while self._newest is None and not self.over.is_set():
            self._changed.clear()
            await self._changed.wait()
        if self.over.is_set():
            raise TrackEnded

    async def take(self) -> Picture:
        """Waits for and returns the newest picture that has not been taken. Raises TrackEnded."""
        await self.wait()
        picture, self._newest = self._newest, None
        assert picture is not None
        return picture


class RoomTracks:
    """The subscribed video tracks, by track sid."""

    def __init__(self) -> None:
        self._tracks: dict[str, RoomTrack] = {}

    def add(self, identity: str, sid: str) -> RoomTrack:
        """Adds a track with the lowest number that its participant does not use."""
        self.end(sid)
        taken = {track.number for track in self._tracks.values() if track.identity == identity}
        track = RoomTrack(identity, min(set(range(1, len(taken) + 2)) - taken), sid)
        self._tracks[sid] = track
        return track

    def end(self, sid: str) -> None:
        track = self._tracks.pop(sid, None)
        if track is not None:
            track.end()

    def end_participant(self, identity: str) -> None:
        for track in tuple(self._tracks.values()):
            if track.identity == identity:
                self.end(track.sid)

    def end_all(self) -> None:
        for sid in tuple(self._tracks):
            self.end(sid)


class Moderate(Protocol):
    """Moderates one track. Reintervals soon after the track ends."""

    async def __call__(self, track: RoomTrack) -> None: ...


def join_token(config: RoomConfig) -> str:
    """Reintervals a token that only allows hidden subscription in this room. An agent does not keep the room open."""
    now = datetime.datetime.now(datetime.UTC)
    grants = {
        "room": config.room, "roomJoin": True, "hidden": True, "canSubscribe": True, "canPublish": False,
        "canPublishData": False, "canUpdateOwnMetadata": False,
    }
    life = {"nbf": now - datetime.timedelta(minutes=1), "exp": now + _TOKEN_LIFE}
    claims = {"iss": config.api_key, "sub": config.identity, "kind": "agent", "video": grants, **life}
    with warnings.catch_warnings():     # `livekit-server --dev` uses the secret "secret"
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        return jwt.encode(claims, config.api_secret, algorithm="HS256")


async def watch_room(config: RoomConfig, moderate: Moderate, report: Callable[[str], None], stop: asyncio.Event) -> str:
    """Watches the room until it closes or `stop` is set, and returns the reason as text.

    Reconnects with back-off while the server is unreachable. Raises RoomRefused, and the first error of `moderate`.
    """
    failures = 0
    while not stop.is_set():
        connection = _RoomConnection(config, moderate, report)
        began_s = time.monotonic()
        try:
            reason = await connection.run(stop)
        except rtc.ConnectError as error:
            reason = retry_reason(error)
        if stop.is_set() or reason in _FINAL_REASONS.values():
            return reason
        failures = 1 if time.monotonic() - began_s > _STABLE_S else failures + 1
        backoff_s = _REJOIN_POLICY.delay_s(failures)
        report(f"{reason}; joining again in {backoff_s:.0f} s")
        await _first_done(stop.wait(), asyncio.sleep(backoff_s))
    return "stopped"


def retry_reason(error: Exception) -> str:
    """Reintervals a temporary failure as text, without the token that servers echo. Raises RoomRefused for others."""
    text = _TOKEN.sub("(token)", str(error))
    if _REFUSED.search(text):
        raise RoomRefused(f"the LiveKit server refuses the login: {text}; check URL, room, key and secret") from None
    return f"the LiveKit server cannot be reached: {text}"


class _RoomConnection:
    """One connection to the room, from joining to its end."""

    def __init__(self, config: RoomConfig, moderate: Moderate, report: Callable[[str], None]) -> None:
        self._config = config
        self._moderate = moderate
        self._report = report
        self._tracks = RoomTracks()
        self._encrypted: set[str] = set()
        self._disconnected: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self, stop: asyncio.Event) -> str:
        """Watches the room and returns why the connection ended. Raises ConnectError, and `moderate`'s first error."""
        room = rtc.Room()
        try:
            async with asyncio.TaskGroup() as group:
                self._listen(room, group)
                await self._watch(room, stop)
        except ExceptionGroup as failed:
            raise _first_of(failed) from None
        return "stopped" if stop.is_set() else self._disconnected.result()

    async def _watch(self, room: rtc.Room, stop: asyncio.Event) -> None:
        try:
            await room.connect(self._config.url, join_token(self._config), rtc.RoomOptions(auto_subscribe=False))
            self._report(f"in room {self._config.room}")
            while not stop.is_set() and not self._disconnected.done():
                self._subscribe_all(room)
                await _first_done(stop.wait(), asyncio.shield(self._disconnected), asyncio.sleep(_SUBSCRIBE_EVERY_S))
        finally:
            self._tracks.end_all()
            await room.disconnect()

    def _listen(self, room: rtc.Room, group: asyncio.TaskGroup) -> None:
        def subscribed(
            media: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
        ) -> None:
            if media.kind == rtc.TrackKind.KIND_VIDEO:
                track = self._tracks.add(participant.identity, publication.sid)
                group.create_task(self._moderate_track(track, media))

        def disconnected(reason: rtc.DisconnectReason.ValueType) -> None:
            if not self._disconnected.done():
                self._disconnected.set_result(_FINAL_REASONS.get(reason, "the connection to the room was lost"))

        room.on("track_published", self._subscribe)
        room.on("track_subscribed", subscribed)
        room.on("track_unsubscribed", lambda _, publication, __: self._tracks.end(publication.sid))
        room.on("track_unpublished", lambda publication, _: self._tracks.end(publication.sid))
        room.on("participant_disconnected", lambda participant: self._tracks.end_participant(participant.identity))
        room.on("disconnected", disconnected)

    def _subscribe_all(self, room: rtc.Room) -> None:
        """Subscribes to all tracks: the server does not always announce those present before the (re)join."""
        for participant in room.remote_participants.values():
            for publication in participant.track_publications.values():
                self._subscribe(publication, participant)

    def _subscribe(self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        """Subscribes to a video track that is not encrypted. Audio is not used."""
        if publication.kind != rtc.TrackKind.KIND_VIDEO or publication.subscribed or publication.sid in self._encrypted:
            return
        if publication.encryption_type != rtc.EncryptionType.NONE:
            self._encrypted.add(publication.sid)
            self._report(f"{participant.identity} is end-to-end encrypted and cannot be analyzed")
            return
        publication.set_subscribed(True)

    async def _moderate_track(self, track: RoomTrack, media: rtc.Track) -> None:
        """Delivers the track's pictures to `moderate` until the track ends."""
        pictures = rtc.VideoStream(media, capacity=1, format=rtc.VideoBufferType.I420)
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(_pump(pictures, track, self._config.rate_hz))
                await self._moderate(track)
                pump.cancel()       # the SDK's iterator does not end with its track
        finally:
            await pictures.aclose()


def _first_of(failed: ExceptionGroup[Exception]) -> Exception:
    first = failed.exceptions[0]
    return _first_of(first) if isinstance(first, ExceptionGroup) else first


async def _pump(pictures: rtc.VideoStream, track: RoomTrack, rate_hz: float) -> None:
    """Passes on the first picture in each interval of 1/`rate_hz` seconds."""
    interval: int | None = None
    async for event in pictures:
        at_s = event.timestamp_us / 1e6
        if interval is None or int(at_s * rate_hz) > interval:
            interval = int(at_s * rate_hz)
            frame = event.frame
            planes = I420Picture(bytes(frame.data), frame.width, frame.height, _QUARTER_TURNS[event.rotation])
            track.put(Picture(planes, at_s))


async def _first_done(*works: Awaitable[object]) -> None:
    """Waits for the first and cancels the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
