"""The video codecs of live media: one row each, with the names that SDP, Kafka and FFmpeg give them.

To add a codec, add a member to `stream.types.Codec` and a row here. To receive it over RTP, also give it an `rtp_name`,
a depacketiser in `api.ingest.rtp_packets` and a key frame test in `stream.sources.rtp_video`.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream.types import Codec


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoCodec:
    """One codec.

    `ffmpeg` is FFmpeg's name of the codec, `decoder` that of the decoder. `rtp_name` is the encoding name of RFC 3551,
    empty where the codec is not received over RTP. `content_type` is the media type of one access unit in Kafka.
    `annex_b` is the bitstream filter from a container's form to start codes, empty where there is none.
    `segment_format` is the container that segments of it are cut into.
    """

    codec: Codec
    title: str
    ffmpeg: str
    decoder: str
    content_type: str
    segment_format: str
    rtp_name: str = ""
    annex_b: str = ""


VIDEO_CODECS = (
    VideoCodec(
        codec=Codec.H264, title="H.264", ffmpeg="h264", decoder="h264", content_type="video/h264",
        segment_format="mp4", rtp_name="H264", annex_b="h264_mp4toannexb",
    ),
    VideoCodec(
        codec=Codec.VP8, title="VP8", ffmpeg="vp8", decoder="vp8", content_type="video/vp8", segment_format="webm",
        rtp_name="VP8",
    ),
    VideoCodec(
        codec=Codec.HEVC, title="H.265", ffmpeg="hevc", decoder="hevc", content_type="video/h265",
        segment_format="mp4", annex_b="hevc_mp4toannexb",
    ),
    VideoCodec(
        codec=Codec.VP9, title="VP9", ffmpeg="vp9", decoder="vp9", content_type="video/vp9", segment_format="webm"
    ),
    VideoCodec(
        codec=Codec.AV1, title="AV1", ffmpeg="av1", decoder="libdav1d", content_type="video/av1",
        segment_format="webm",
    ),
)  # fmt: skip

BY_CODEC = {row.codec: row for row in VIDEO_CODECS}
BY_FFMPEG = {row.ffmpeg: row for row in VIDEO_CODECS}
BY_RTP_NAME = {row.rtp_name: row for row in VIDEO_CODECS if row.rtp_name}
RTP_TITLES = " and ".join(row.title for row in BY_RTP_NAME.values())
TITLES = ", ".join(row.title for row in VIDEO_CODECS[:-1]) + f" and {VIDEO_CODECS[-1].title}"
