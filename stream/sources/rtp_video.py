"""RTP video: assembles packets into whole frames with media times. Does not decode, wait or do I/O.

The decoder must not get a frame whose references were lost: concealment would show a picture that was never sent. After
a permanent loss, frames are withheld and a key frame is requested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stream.display_transform import AS_DECODED, DisplayTransform, transform_of_cvo
from stream.temporal_layers import BASE, Layer
from stream.types import Codec

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK_HZ = 90_000

_SEQUENCE_RESTART = 100     # a packet this far behind means that the sender restarted (as in aiortc)
_H264_IDR, _H264_SPS = 5, 7
_H264_SLICES = (1, 5)


class Fragment(NamedTuple):
    """One RTP packet without its payload header.

    `sequence` has 16 bits, `rtp_time` and `ssrc` 32. `data` is Annex-B for H.264. `arrived_s` is monotonic time.
    `layer` is the temporal layer in the payload header, `orientation` the byte of the orientation extension or None.
    """

    ssrc: int
    sequence: int
    rtp_time: int
    marker: bool
    data: bytes
    arrived_s: float
    layer: Layer = BASE
    orientation: int | None = None


class TrackOutput(Protocol):
    """Receives the frames of one track. Called in the event loop; must not block or raise."""

    def frame(
        self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer, *, display: DisplayTransform
    ) -> None:
        """Takes one whole frame, decodable after the previous ones. Its first packet arrived `age_s` seconds ago."""

    def lost(self) -> None:
        """Reports that media is missing from here on."""

    def ask_keyframe(self, ssrc: int) -> None:
        """Requests a key frame, without which no frame can be decoded."""


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """Bounds of one track. A gap that is not filled within `patience_s` is given up."""

    max_waiting: int = 1024
    max_frame_bytes: int = 4 * 2**20
    patience_s: float = 0.4
    ask_every_s: float = 1.0
    other_source_after_s: float = 1.0


class RtpClock:
    """Media seconds since the first timestamp. Signed 32-bit steps handle reordered frames and wrap-around."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._ticks = 0

    def seconds(self, rtp_time: int) -> float:
        if self._last is not None:
            self._ticks += _signed(rtp_time - self._last, 32)
        self._last = rtp_time
        return self._ticks / CLOCK_HZ


def layer_of(codec: Codec, payload: bytes) -> Layer:
    """Returns the temporal layer in the payload header of an RTP packet (VP8: RFC 7741 4.2).

    Returns the base layer if the header names none or is truncated.
    """
    if codec is not Codec.VP8 or len(payload) < 2 or not payload[0] & 0x80 or not payload[1] & 0x20:
        return BASE
    has_picture, has_index = payload[1] & 0x80, payload[1] & 0x40
    at = 2
    if has_picture:
        at += 2 if len(payload) > at and payload[at] & 0x80 else 1
    if has_index:
        at += 1
    if len(payload) <= at:
        return BASE
    return Layer(payload[at] >> 6, bool(payload[at] & 0x20))


def is_keyframe(codec: Codec, payload: bytes) -> bool:
    """Whether decoding can start with this frame. False for a frame whose beginning was lost."""
    if codec is Codec.VP8:      # RFC 6386 9.1: bit 0 of the frame tag, then the start code
        return len(payload) > 9 and not payload[0] & 1 and payload[3:6] == b"\x9d\x01\x2a"
    if not payload.startswith(b"\x00\x00\x00\x01"):
        return False
    for kind, first_of_body in nal_units(payload):
        if kind in _H264_SLICES:
            return kind == _H264_IDR and bool(first_of_body & 0x80)     # first_mb_in_slice is 0, as ue(v)
    return False


def nal_units(payload: bytes) -> Iterator[tuple[int, int]]:
    """Returns type and first body byte of every NAL unit of an Annex-B access unit (4-byte start codes)."""
    start = payload.find(b"\x00\x00\x00\x01")
    while start >= 0 and start + 5 < len(payload):
        yield payload[start + 4] & 0x1F, payload[start + 5]
        start = payload.find(b"\x00\x00\x00\x01", start + 4)


class VideoTrack:
    """Assembles the frames of one SSRC and outputs those that can be decoded."""

    def __init__(self, codec: Codec, output: TrackOutput, config: TrackConfig | None = None) -> None:
        self.frames_whole = 0
        self.frames_withheld = 0        # whole, but with lost references
        self.gaps = 0
        self.newest_s = float("-inf")   # when the newest whole frame was complete, monotonic
        self._codec = codec
        self._output = output
        self._config = config or TrackConfig()
        self._clock = RtpClock()
        self._ssrc: int | None = None
        self._heard_s = 0.0
        self._next = 0                              # sequence number that continues the frame in hand
        self._early: dict[int, Fragment] = {}       # packets that arrived before their predecessors
        self._blocked_s = 0.0                       # monotonic time since when the next one is missing
        self._parts: list[Fragment] = []
        self._part_bytes = 0
        self._done_time: int | None = None          # RTP time of the newest frame that a marker completed
        self._markers_end_frames = True
        self._need_keyframe = True
        self._asked_s = float("-inf")
        self._display = AS_DECODED

    @property
    def ssrc(self) -> int | None:
        """SSRC of the accepted packets; None before the first."""
        return self._ssrc

    def take(self, fragment: Fragment) -> None:
        """Takes one packet; packets may arrive in any order."""
        if not self._admit(fragment):
            return
        ahead = _signed(fragment.sequence - self._next, 16)
        if ahead < -_SEQUENCE_RESTART or ahead >= self._config.max_waiting:
            self._restart(fragment.sequence)
        elif ahead < 0:
            return
        if not self._early:
            self._blocked_s = fragment.arrived_s
        self._early.setdefault(fragment.sequence, fragment)
        self._advance(fragment.arrived_s)
        if self._early and fragment.arrived_s - self._blocked_s > self._config.patience_s:
            self._give_up()
            self._advance(fragment.arrived_s)
        if self._need_keyframe:
            self._ask(fragment.arrived_s)

    def _admit(self, fragment: Fragment) -> bool:
        """Whether to accept a packet's SSRC. Another SSRC may take over when the first has fallen silent."""
        if fragment.ssrc != self._ssrc:
            if self._ssrc is not None:
                if fragment.arrived_s - self._heard_s < self._config.other_source_after_s:
                    return False
                self._restart(fragment.sequence)
            else:       # a new source most likely starts with a key frame
                self._asked_s = fragment.arrived_s - self._config.ask_every_s + self._config.patience_s
            self._ssrc = fragment.ssrc
            self._next = fragment.sequence
        self._heard_s = fragment.arrived_s
        return True

    def _advance(self, now_s: float) -> None:
        """Processes all contiguous packets."""
        moved = False
        while (fragment := self._early.pop(self._next, None)) is not None:
            self._next = (self._next + 1) & 0xFFFF
            moved = True
            if fragment.data:       # bandwidth probes carry no data
                self._continue_with(fragment, now_s)
        if moved:
            self._blocked_s = now_s

    def _continue_with(self, fragment: Fragment, now_s: float) -> None:
        if self._parts and self._parts[0].rtp_time != fragment.rtp_time:
            self._complete(now_s)
        if not self._parts and fragment.rtp_time == self._done_time:
            # this sender sets the marker inside frames, so the previous output was a partial frame
            self._markers_end_frames = False
            self._break()
        self._parts.append(fragment)
        self._part_bytes += len(fragment.data)
        if self._part_bytes > self._config.max_frame_bytes:
            self._break()
        elif fragment.marker and self._markers_end_frames:
            self._done_time = fragment.rtp_time
            self._complete(now_s)

    def _complete(self, now_s: float) -> None:
        parts, self._parts, self._part_bytes = self._parts, [], 0
        payload = b"".join(part.data for part in parts)
        keyframe = is_keyframe(self._codec, payload)
        pts_s = self._clock.seconds(parts[0].rtp_time)
        self.frames_whole += 1
        self.newest_s = now_s
        if self._need_keyframe and not keyframe:
            self.frames_withheld += 1
            return
        self._need_keyframe = False
        self._orient(parts, keyframe)
        age_s = now_s - parts[0].arrived_s
        self._output.frame(payload, pts_s, keyframe, age_s, parts[0].layer, display=self._display)

    def _orient(self, parts: list[Fragment], keyframe: bool) -> None:
        """Takes over the orientation of a frame. It holds until the next one; a key frame without one is upright.

        Senders attach it to key frames and to changes.
        """
        orientation = next((part.orientation for part in reversed(parts) if part.orientation is not None), None)
        if orientation is not None:
            self._display = transform_of_cvo(orientation)
        elif keyframe:
            self._display = AS_DECODED

    def _give_up(self) -> None:
        """Gives up the missing packets and continues with the earliest one that has arrived."""
        self._break()
        self._next = min(self._early, key=lambda sequence: _signed(sequence - self._next, 16))

    def _restart(self, sequence: int) -> None:
        self._break()
        self._early.clear()
        self._next = sequence

    def _break(self) -> None:
        self._parts, self._part_bytes = [], 0
        self._done_time = None
        self.gaps += 1
        if not self._need_keyframe:
            self._need_keyframe = True
            self._asked_s = float("-inf")
            self._output.lost()

    def _ask(self, now_s: float) -> None:
        if self._ssrc is not None and now_s - self._asked_s >= self._config.ask_every_s:
            self._asked_s = now_s
            self._output.ask_keyframe(self._ssrc)


def _signed(difference: int, bits: int) -> int:
    """Returns `difference` modulo 2^bits as the signed number nearest to 0."""
    half = 1 << (bits - 1)
    return ((difference + half) & ((1 << bits) - 1)) - half
