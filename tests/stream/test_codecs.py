"""The codec table agrees with the code that it describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import av
import pytest

from api.ingest.rtp_packets import _DEPAYLOAD
from api.routes.start_stream import RtpIn
from consumers.media_contract import KIND_OF, ContentType, Kind
from stream.access_units import AccessUnits, codec_of
from stream.codecs import BY_RTP_NAME, VIDEO_CODECS, VideoCodec
from stream.media_limits import MediaLimits
from stream.types import Codec, MediaUnit
from stream.unit_decoder import build_decoder
from tests.synthetic import Clip, number_on, video

if TYPE_CHECKING:
    from pathlib import Path

ENCODERS = {
    Codec.H264: ("libx264", "a.mp4"), Codec.HEVC: ("libx265", "a.mp4"), Codec.VP8: ("libvpx", "a.webm"),
    Codec.VP9: ("libvpx-vp9", "a.webm"), Codec.AV1: ("libsvtav1", "a.mp4"),
}  # fmt: skip


def test_every_video_codec_has_one_row() -> None:
    stills = {Codec.JPEG, Codec.PNG, Codec.SEGMENT}
    assert [row.codec for row in VIDEO_CODECS] == [codec for codec in Codec if codec not in stills]
    assert all(row.decoder in av.codecs_available for row in VIDEO_CODECS)
    assert all(row.annex_b in av.bitstream.bitstream_filters_available for row in VIDEO_CODECS if row.annex_b)


def test_every_codec_received_over_rtp_has_a_depacketiser_and_can_be_requested() -> None:
    received = {row.codec for row in BY_RTP_NAME.values()}
    assert set(_DEPAYLOAD) == received
    assert set(get_args(RtpIn.model_fields["codec"].annotation)) == {codec.value for codec in received}


def test_access_units_of_every_codec_have_a_content_type() -> None:
    units = {content_type for content_type, kind in KIND_OF.items() if kind is Kind.UNIT}
    assert {ContentType(row.content_type) for row in VIDEO_CODECS} == units


@pytest.mark.parametrize("row", VIDEO_CODECS, ids=lambda row: row.title)
def test_packets_of_a_container_are_decoded_without_it(row: VideoCodec, tmp_path: Path) -> None:
    encoder, name = ENCODERS[row.codec]
    path = video(tmp_path / name, Clip(encoder=encoder, frames=20))
    decoder = build_decoder(row.codec, MediaLimits())
    shown = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert codec_of(stream) is row
        units = AccessUnits(stream, row)
        sequence = 0
        for packet in container.demux(stream):
            for plain, payload in units.of(packet):
                if plain.size:
                    unit = MediaUnit(
                        stream="s", epoch=1, sequence=sequence, codec=row.codec, payload=payload, pts_s=sequence / 30,
                        capture_s=0.0, keyframe=bool(plain.is_keyframe),
                    )  # fmt: skip
                    shown += [number_on(picture.rgb()) for picture in decoder.decode(unit).pictures]
                    sequence += 1
    shown += [number_on(picture.rgb()) for picture in decoder.flush()]
    assert sorted(shown) == list(range(20))
