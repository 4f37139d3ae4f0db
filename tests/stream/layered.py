"""Real VP8 in three temporal layers, as browsers send it for scalability mode L1T3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.temporal_layers import Layer
from stream.types import Codec
from tests.synthetic import Clip, units

if TYPE_CHECKING:
    from stream.types import MediaUnit

# libvpx's pattern 3: the first frames of layers 2 and 1 refer to layer 0 alone, the last frame to both.
PATTERN = (Layer(0), Layer(2, sync=True), Layer(1, sync=True), Layer(2))
_LAYERS = (
    "ts_number_layers=3:ts_target_bitrate=200,350,500:ts_rate_decimator=4,2,1:ts_periodicity=4:"
    "ts_layer_id=0,2,1,2:ts_layering_mode=3"
)


def layered_units(stream: str, frames: int) -> list[tuple[MediaUnit, Layer]]:
    """Returns units at 30 frames/s; only the first is a key frame."""
    options = {"lag-in-frames": "0", "error-resilient": "1", "ts-parameters": _LAYERS}
    clip = Clip(frames=frames, encoder="libvpx", gop=9999, options=options)
    return [(unit, PATTERN[n % len(PATTERN)]) for n, unit in enumerate(units(stream, Codec.VP8, clip))]
