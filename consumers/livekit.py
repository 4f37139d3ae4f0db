"""A LiveKit room, watched by a hidden participant: the pictures of every video track in it, as long as it is there.

Needs the extra `livekit`. The SDK brings its own engine of WebRTC: tracks arrive decoded, and a panic of the engine
ends the process, which is why this never runs in the one that serves.
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

_TOKEN_LIFE = datetime.timedelta(hours=1)   # the server renews it for who is in the room
_REJOIN_POLICY = RetryPolicy.exponential(1.0, 30.0, jitter=0.5)
_STEADY_S = 10.0
_LOOK_EVERY_S = 3.0
_TOKEN = re.compile(r"eyJ[A-Za-z0-9._-]+")
_REFUSED = re.compile(r"client error: 40[013]|parse the url")
_QUARTER_TURNS: dict[object, int] = {
    rtc.VideoRotation.VIDEO_ROTATION_0: 0, rtc.VideoRotation.VIDEO_ROTATION_90: 1,
    rtc.VideoRotation.VIDEO_ROTATION_180: 2, rtc.VideoRotation.VIDEO_ROTATION_270: 3,
}
_OVER = {
    rtc.DisconnectReason.ROOM_DELETED: "the room was deleted",
    rtc.DisconnectReason.ROOM_CLOSED: "the room was closed",
    rtc.DisconnectReason.PARTICIPANT_REMOVED: "this participant was removed from the room",
    rtc.DisconnectReason.DUPLICATE_IDENTITY: "somebody else joined with this identity",
}


def _own_name() -> str:
    return f"deepguard-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class RoomOrder:
    """Which room to watch, at most `rate_hz` pictures per second and track."""

    url: str
    room: str
    api_key: str
    api_secret: str = field(repr=False)
    rate_hz: float = 10.0
    identity: str = field(default_factory=_own_name)


class Picture(NamedTuple):
    """One frame of a track, upright. `at_s` is the time of the engine's clock, monotonic per track."""

    planes: I420Picture
    at_s: float


class TrackOver(Exception):
    """The participant left, unpublished the track, or is out of sight."""


class RoomTrack:
    """One video track. Keeps the newest picture alone; `number` counts the tracks that a participant has at the same
    time, from 1. `over` is set at the end."""

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
        """Waits for a picture that is not taken yet. Raises TrackOver."""
        while self._newest is None and not self.over.is_set():
            self._changed.clear()
            await self._changed.wait()
        if self.over.is_set():
            raise TrackOver

    async def take(self) -> Picture:
        """Returns the newest picture that is not taken yet. Raises TrackOver."""
        await self.wait()
        picture, self._newest = self._newest, None
        assert picture is not None
        return picture


class RoomTracks:
    """The tracks that are in sight."""

    def __init__(self) -> None:
        self._tracks: dict[str, RoomTrack] = {}

    def add(self, identity: str, sid: str) -> RoomTrack:
        """With the lowest number that the participant has not in use."""
        self.end(sid)
        taken = {track.number for track in self._tracks.values() if track.identity == identity}
        track = RoomTrack(identity, min(set(range(1, len(taken) + 2)) - taken), sid)
        self._tracks[sid] = track
        return track

    def end(self, sid: str) -> None:
        track = self._tracks.pop(sid, None)
        if track is not None:
            track.end()

    def left(self, identity: str) -> None:
        for track in tuple(self._tracks.values()):
            if track.identity == identity:
                self.end(track.sid)

    def end_all(self) -> None:
        for sid in tuple(self._tracks):
            self.end(sid)


class Moderate(Protocol):
    """What is done with each track, for as long as it is there; has to return soon after its end."""

    async def __call__(self, track: RoomTrack) -> None: ...


def join_token(order: RoomOrder) -> str:
    """Lets its bearer subscribe in this room, unseen, and nothing else. As an agent it does not keep the room open."""
    now = datetime.datetime.now(datetime.UTC)
    grants = {
        "room": order.room, "roomJoin": True, "hidden": True, "canSubscribe": True, "canPublish": False,
        "canPublishData": False, "canUpdateOwnMetadata": False,
    }
    life = {"nbf": now - datetime.timedelta(minutes=1), "exp": now + _TOKEN_LIFE}
    claims = {"iss": order.api_key, "sub": order.identity, "kind": "agent", "video": grants, **life}
    with warnings.catch_warnings():     # `livekit-server --dev` has the secret "secret"
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        return jwt.encode(claims, order.api_secret, algorithm="HS256")


async def watch_room(order: RoomOrder, moderate: Moderate, tell: Callable[[str], None], stop: asyncio.Event) -> str:
    """Watches the room until it is over or `stop` is set; says in words which. Joins again, with pauses that grow, when
    the server is away. Raises RoomRefused, and what `moderate` raises first."""
    failures = 0
    while not stop.is_set():
        visit = _Visit(order, moderate, tell)
        began_s = time.monotonic()
        try:
            reason = await visit.stay(stop)
        except rtc.ConnectError as error:
            reason = explain(error)
        if stop.is_set() or reason in _OVER.values():
            return reason
        failures = 1 if time.monotonic() - began_s > _STEADY_S else failures + 1
        pause_s = _REJOIN_POLICY.delay_s(failures)
        tell(f"{reason}; joining again in {pause_s:.0f} s")
        await _either(stop.wait(), asyncio.sleep(pause_s))
    return "stopped"


def explain(error: Exception) -> str:
    """What is worth trying again, without the token, which servers send back. Raises RoomRefused for what is not."""
    text = _TOKEN.sub("(token)", str(error))
    if _REFUSED.search(text):
        raise RoomRefused(f"the LiveKit server does not let us in: {text}") from None
    return f"the LiveKit server cannot be reached: {text}"


class _Visit:
    """One time in the room, from joining to the end of the connection."""

    def __init__(self, order: RoomOrder, moderate: Moderate, tell: Callable[[str], None]) -> None:
        self._order = order
        self._moderate = moderate
        self._tell = tell
        self._tracks = RoomTracks()
        self._locked: set[str] = set()
        self._gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def stay(self, stop: asyncio.Event) -> str:
        """Why it is over. Raises ConnectError, and what `moderate` raises first."""
        room = rtc.Room()
        try:
            async with asyncio.TaskGroup() as group:
                self._listen(room, group)
                await self._watch(room, stop)
        except ExceptionGroup as failed:
            raise _first_of(failed) from None
        return "stopped" if stop.is_set() else self._gone.result()

    async def _watch(self, room: rtc.Room, stop: asyncio.Event) -> None:
        try:
            await room.connect(self._order.url, join_token(self._order), rtc.RoomOptions(auto_subscribe=False))
            self._tell(f"in room {self._order.room}")
            while not stop.is_set() and not self._gone.done():
                self._want_all(room)
                await _either(stop.wait(), asyncio.shield(self._gone), asyncio.sleep(_LOOK_EVERY_S))
        finally:
            self._tracks.end_all()
            await room.disconnect()

    def _listen(self, room: rtc.Room, group: asyncio.TaskGroup) -> None:
        def subscribed(
            media: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
        ) -> None:
            if media.kind == rtc.TrackKind.KIND_VIDEO:
                track = self._tracks.add(participant.identity, publication.sid)
                group.create_task(self._follow(track, media))

        def disconnected(reason: rtc.DisconnectReason.ValueType) -> None:
            if not self._gone.done():
                self._gone.set_result(_OVER.get(reason, "the connection to the room was lost"))

        room.on("track_published", self._want)
        room.on("track_subscribed", subscribed)
        room.on("track_unsubscribed", lambda _, publication, __: self._tracks.end(publication.sid))
        room.on("track_unpublished", lambda publication, _: self._tracks.end(publication.sid))
        room.on("participant_disconnected", lambda participant: self._tracks.left(participant.identity))
        room.on("disconnected", disconnected)

    def _want_all(self, room: rtc.Room) -> None:
        """Who was there when we joined, or joined again, is not always announced."""
        for participant in room.remote_participants.values():
            for publication in participant.track_publications.values():
                self._want(publication, participant)

    def _want(self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        """Subscribes to video alone: audio would cost bandwidth and is not analysed."""
        if publication.kind != rtc.TrackKind.KIND_VIDEO or publication.subscribed or publication.sid in self._locked:
            return
        if publication.encryption_type != rtc.EncryptionType.NONE:
            self._locked.add(publication.sid)
            self._tell(f"{participant.identity} is end-to-end encrypted and cannot be judged")
            return
        publication.set_subscribed(True)

    async def _follow(self, track: RoomTrack, media: rtc.Track) -> None:
        """Has the track's pictures moderated until it is over."""
        pictures = rtc.VideoStream(media, capacity=1, format=rtc.VideoBufferType.I420)
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(_pump(pictures, track, self._order.rate_hz))
                await self._moderate(track)
                pump.cancel()       # the SDK's iterator does not end with its track
        finally:
            await pictures.aclose()


def _first_of(failed: ExceptionGroup[Exception]) -> Exception:
    first = failed.exceptions[0]
    return _first_of(first) if isinstance(first, ExceptionGroup) else first


async def _pump(pictures: rtc.VideoStream, track: RoomTrack, rate_hz: float) -> None:
    """The first picture of each 1/`rate_hz` s."""
    turn: int | None = None
    async for event in pictures:
        at_s = event.timestamp_us / 1e6
        if turn is None or int(at_s * rate_hz) > turn:
            turn = int(at_s * rate_hz)
            frame = event.frame
            planes = I420Picture(bytes(frame.data), frame.width, frame.height, _QUARTER_TURNS[event.rotation])
            track.put(Picture(planes, at_s))


async def _either(*works: Awaitable[object]) -> None:
    """Waits for the first, and cancels the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
