"""Display picture: a decoded frame as a viewer sees it, upright, progressive, square-pixelled, SDR and RGB.

Containers and RTP header extensions, not only the bitstream, tell players how to show a frame. Every path from a
decoder to the detector goes through `PictureConverter.rgb`, so the detector judges what a viewer sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import cv2
import msgspec
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from stream.display_transform import AS_DECODED, DisplayTransform, shown_size, transform_of_matrix
from stream.tone_mapping import HdrTransfer, tone_mapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rgb = NDArray[np.uint8]

# Above this ratio a picture is combed: mean difference of adjacent rows over that of rows two apart. Measured in
# December 2026: progressive video at most .66 (44 clips of calls and talking heads), white noise 1.003, combed motion
# 1.05 to 1.27.
COMBED_RATIO = 1.03
_COMBED_COLUMNS = 4
# AVColorTransferCharacteristic and AVColorSpace (libavutil/pixfmt.h).
_HDR_TRANSFERS = {16: HdrTransfer.PQ, 18: HdrTransfer.HLG}
_UNSPECIFIED, _BT709, _BT2020 = 2, 1, 9
_HD_HEIGHT_PX = 720


def transform_of_frame(frame: av.VideoFrame) -> DisplayTransform:
    """Returns the transform that the container attached to this frame; `AS_DECODED` if there is none."""
    side_data: Any = frame.side_data
    matrix = side_data.get(SideDataType.DISPLAYMATRIX)
    return AS_DECODED if matrix is None else transform_of_matrix(np.frombuffer(matrix, np.int32).tolist())


def display_of_packet(stream: Any, packet: Any) -> DisplayTransform | None:
    """Returns how a container shows a stream, by one of its key frames; None if that cannot be decoded.

    FFmpeg attaches the display matrix to decoded frames alone. The decoder of the stream is flushed afterwards.
    """
    try:
        frames = stream.codec_context.decode(packet) or stream.codec_context.decode(None)
        stream.codec_context.flush_buffers()
    except (av.error.FFmpegError, ValueError):
        return None
    aspect = float(stream.sample_aspect_ratio or 0)
    return msgspec.structs.replace(transform_of_frame(frames[0]), sample_aspect=aspect) if frames else None


class PictureConverter:
    """Converts the frames of one stream. It remembers interlacing, which frames without motion do not show."""

    def __init__(self) -> None:
        self._is_interlaced = False

    def rgb(self, frame: av.VideoFrame, transform: DisplayTransform, stream_aspect: float = 0.0) -> Rgb:
        """Returns RGB uint8 (h, w, 3), C-contiguous.

        `stream_aspect` is the sample aspect ratio of the bitstream; `transform.sample_aspect`, the container's, takes
        precedence.
        """
        if not self._is_interlaced:
            self._is_interlaced = frame.interlaced_frame or _is_combed(frame)
        picture = _sdr_rgb(frame)
        height, width = picture.shape[:2]
        size = shown_size(width, height, transform.sample_aspect or stream_aspect)
        if self._is_interlaced:
            # The two fields show different moments: one is kept, and its missing rows are interpolated.
            picture = picture[0::2]
        if picture.shape[:2] != (size[1], size[0]):
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        return oriented(picture, transform)


class ShownFrames:
    """Converts the frames of a container's video stream, using its transform and aspect ratio."""

    def __init__(self, stream: Any) -> None:
        self._converter = PictureConverter()
        self._aspect = float(stream.sample_aspect_ratio or 0)

    def rgb(self, frame: av.VideoFrame) -> Rgb:
        """Returns RGB uint8 (h, w, 3), C-contiguous."""
        return self._converter.rgb(frame, transform_of_frame(frame), self._aspect)


def _is_combed(frame: av.VideoFrame) -> bool:
    """Whether rows of the luma plane resemble the rows two apart more than their neighbours."""
    plane = frame.planes[0]
    if frame.height < 8 or plane.line_size < frame.width or frame.format.components[0].bits != 8:
        return False
    rows = np.frombuffer(cast("Any", plane), np.uint8).reshape(-1, plane.line_size)
    luma = rows[: frame.height, : frame.width : _COMBED_COLUMNS].astype(np.int16)
    neighbours, same_field = np.abs(np.diff(luma, axis=0)).mean(), np.abs(luma[2:] - luma[:-2]).mean()
    return bool(neighbours > COMBED_RATIO * max(same_field, 1.0))


def _sdr_rgb(frame: av.VideoFrame) -> Rgb:
    """Returns RGB uint8 (h, w, 3) as decoded, neither scaled nor turned."""
    transfer = _HDR_TRANSFERS.get(int(frame.color_trc))
    if transfer is not None:
        matrix = int(frame.colorspace)
        source = _BT2020 if matrix == _UNSPECIFIED else matrix
        deep = frame.reformat(format="rgb48le", src_colorspace=source, threads=1).to_ndarray()
        return tone_mapped(np.asarray(deep, np.uint16), transfer)
    if int(frame.colorspace) == _UNSPECIFIED and frame.height >= _HD_HEIGHT_PX:
        # Players take untagged HD video for BT.709 and smaller video for BT.601, which is FFmpeg's own assumption.
        return np.asarray(frame.reformat(format="rgb24", src_colorspace=_BT709, threads=1).to_ndarray(), np.uint8)
    return np.asarray(frame.reformat(format="rgb24", threads=1).to_ndarray(), np.uint8)


def oriented(picture: Rgb, transform: DisplayTransform) -> Rgb:
    """Returns the picture, uint8 (h, w, 3), mirrored and turned; C-contiguous. Ignores the sample aspect ratio."""
    if transform.is_mirrored:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(np.rot90(picture, -transform.quarter_turns))
