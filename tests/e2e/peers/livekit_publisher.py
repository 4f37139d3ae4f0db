"""Participant of a LiveKit room that sends a VP8 file as its camera, without re-encoding.

    python -m tests.e2e.peers.livekit_publisher URL ROOM IDENTITY FILE      until SIGTERM; prints participants seen
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from livekit import rtc

from api.cli.terminal import run_and_leave
from api.clients.whip import TICKS, load_clip
from tests.e2e.peers.libwebrtc_publisher import stopped_by_sigterm
from tests.e2e.peers.livekit_room import room_token

if TYPE_CHECKING:
    from api.clients.whip import Clip

SIZE_PX = (640, 360)


async def publish(url: str, room_name: str, identity: str, clip: Clip, stop: asyncio.Event) -> list[str]:
    """The identities of all participants seen in the room."""
    room, seen = rtc.Room(), set()
    room.on("participant_connected", lambda participant: seen.add(participant.identity))
    await room.connect(url, room_token(identity, room_name))
    seen |= set(room.remote_participants)
    source = rtc.EncodedVideoSource(*SIZE_PX)
    options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False, video_codec=rtc.VideoCodec.VP8,
        video_encoder=rtc.VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED,
    )
    await room.local_participant.publish_track(rtc.LocalVideoTrack.create_video_track("camera", source), options)
    start_s, number = time.monotonic(), 0
    while not stop.is_set():
        loops, at = divmod(number, len(clip.packets))
        ticks, data = clip.packets[at]
        media_s = float((ticks + loops * clip.duration_ticks) * TICKS)
        await asyncio.sleep(max(0.0, start_s + media_s - time.monotonic()))
        is_key = at in clip.starts
        source.capture_frame(rtc.EncodedVideoFrame(
            data, *SIZE_PX, rtc.VideoCodec.VP8,
            rtc.EncodedFrameType.ENCODED_FRAME_KEY if is_key else rtc.EncodedFrameType.ENCODED_FRAME_DELTA,
            round((start_s + media_s) * 1e6),
        ))
        number += 1
    await room.disconnect()
    return sorted(seen)


async def main() -> None:
    url, room, identity, file = sys.argv[1:5]
    seen = await publish(url, room, identity, await asyncio.to_thread(load_clip, Path(file)), stopped_by_sigterm())
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    run_and_leave(partial(asyncio.run, main()))
