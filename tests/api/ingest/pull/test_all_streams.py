"""Sources with every kind of stream beside the video: none of them breaks the demuxer inside its sandbox.

A library that is imported only for such a stream could not be loaded there any more.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from stream.identity import StreamIdentity
from stream.types import EndReason
from tests.api.ingest.pull.support import SAMPLE, pulls_of, site_of
from tests.api.whip_rig import CollectingService, until

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 30
SUBTITLES = "1\n00:00:00,100 --> 00:00:00,900\nHello\n\n"
STYLES = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,16\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Text\n"
)
AUDIO = {"mkv": "libopus", "mp4": "aac", "ts": "aac", "flv": "aac"}


def with_streams(path: Path, form: str) -> Path:
    """The first second of the sample call with audio and what else the container has: subtitles, data, attachments."""
    srt = path.with_suffix(".srt")
    srt.write_text(SUBTITLES)
    with av.open(str(SAMPLE)) as clip, av.open(str(srt)) as text, av.open(str(path), "w") as out:
        video: Any = out.add_stream_from_template(clip.streams.video[0])
        audio: Any = out.add_stream(AUDIO[form], rate=48_000)
        audio.layout = "mono"
        subtitles: Any = out.add_stream_from_template(text.streams.subtitles[0]) if form == "mkv" else None
        timed_text: Any = out.add_stream("mov_text") if form == "mp4" else None
        if timed_text is not None:
            timed_text.codec_context.subtitle_header = STYLES
            timed_text.codec_context.time_base = Fraction(1, 1000)
        data: Any = out.add_data_stream("klv") if form == "ts" else None
        if form == "mkv":
            out.add_attachment("font.ttf", "font/ttf", b"no font at all")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "fltp", "mono")
        silence.rate = 48_000
        out.mux(audio.encode(silence))
        out.mux(audio.encode(None))
        for number, packet in enumerate(clip.demux(video=0)):
            if number == FRAMES:
                break
            packet.stream = video
            out.mux(packet)
        for packet in text.demux() if subtitles is not None else ():
            if packet.size:
                packet.stream = subtitles
                out.mux(packet)
        for extra, payload in ((timed_text, b"\x00\x05Hello"), (data, b"key-value data")):
            if extra is not None:
                piece = av.Packet(payload)
                piece.stream, piece.time_base = extra, Fraction(1, 1000)
                piece.pts = piece.dts = 100
                piece.duration = 500
                out.mux(piece)
    return path


@pytest.mark.parametrize("form", AUDIO)
async def test_a_source_with_all_kinds_of_streams_is_played(tmp_path: Path, form: str) -> None:
    name = with_streams(tmp_path / f"all.{form}", form).name
    with av.open(str(tmp_path / name)) as made:
        kinds = {stream.type for stream in made.streams}
    expected = {"mkv": {"subtitle", "attachment"}, "mp4": {"subtitle"}, "ts": {"data"}, "flv": set()}[form]
    assert kinds == {"video", "audio"} | expected
    service = CollectingService()
    async with site_of(tmp_path) as site, pulls_of(service) as pulls:
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/{name}")
        await until(lambda: bool(service.sessions) and service.sessions[0].ended is not None)
    assert (service.sessions[0].ended, len(service.sessions[0].units)) == (EndReason.END_OF_MEDIA, FRAMES)
