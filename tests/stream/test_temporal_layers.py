"""Temporal layers: no skipped frame is ever needed to decode a kept one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.media_limits import MediaLimits
from stream.temporal_layers import BASE, Layer, LayerFilter
from stream.types import Codec, MediaUnit
from stream.unit_decoder import build_decoder
from tests.stream.layered import PATTERN, layered_units
from tests.synthetic import number_on

FPS = 30
UNKNOWN_FRAMES = FPS        # all frames of the first second are wanted


def keep(chosen: LayerFilter, layers: list[Layer], first: int = 0) -> list[int]:
    """Returns which of these frames at 30 frames/s are wanted; the first is a key frame."""
    return [n for n, layer in enumerate(layers, first) if chosen.wants(layer, n / FPS, n == 0)]


def pattern(frames: int) -> list[Layer]:
    return [PATTERN[n % len(PATTERN)] for n in range(frames)]


@pytest.mark.parametrize(
    ("sampled_hz", "every"), [(0.5, 4), (2.0, 4), (3.5, 4), (5.0, 2), (7.0, 2), (8.0, 1), (30.0, 1)]
)
def test_only_the_layers_for_two_frames_per_sample_are_kept(sampled_hz: float, every: int) -> None:
    kept = keep(LayerFilter(2 * sampled_hz), pattern(150))
    assert kept[:UNKNOWN_FRAMES] == list(range(UNKNOWN_FRAMES))
    later = [n for n in kept if n >= 40]
    assert later == [n for n in range(40, 150) if n % every == 0]


def test_without_layers_every_frame_is_wanted() -> None:
    assert len(keep(LayerFilter(4.0), [BASE] * 150)) == 150


def test_no_needed_frame_of_a_slow_sender_is_skipped() -> None:
    chosen = LayerFilter(4.0)
    slow = [n for n in range(60) if chosen.wants(PATTERN[n % 4], n / 6, n == 0)]      # 1.5 frames/s in layer 0
    assert len(slow) == 60


def test_adding_a_layer_waits_for_a_frame_that_refers_to_the_base_alone() -> None:
    chosen = LayerFilter(4.0)
    keep(chosen, pattern(120))
    chosen.needed_hz = 60.0
    late = [Layer(0), Layer(2), Layer(1), Layer(2)] * 3
    assert keep(chosen, late, 120) == [120, 124, 128], "nothing above the base without a sync"
    assert keep(chosen, pattern(8), 132) == [132, 134, 136, 137, 138, 139], "one layer at a time"


def test_a_key_frame_admits_all_needed_layers() -> None:
    chosen = LayerFilter(4.0)
    keep(chosen, pattern(120))
    chosen.needed_hz = 60.0
    assert chosen.wants(Layer(0), 120 / FPS, keyframe=True)
    assert all(chosen.wants(Layer(n), (121 + n) / FPS, keyframe=False) for n in (2, 1, 2))


LAYERS = st.builds(Layer, st.integers(0, 3), st.booleans())


@given(st.lists(st.tuples(LAYERS, st.sampled_from((1.0, 4.0, 20.0, 60.0)), st.integers(0, 40)), max_size=200))
def test_references_of_kept_frames_are_always_kept(frames: list[tuple[Layer, float, int]]) -> None:
    """A frame refers to the newest of every layer up to its own, a sync frame to the newest of layer 0."""
    chosen = LayerFilter(4.0)
    newest: dict[int, bool] = {}        # layer -> whether its newest frame was kept
    for n, (layer, needed_hz, luck) in enumerate(frames):
        chosen.needed_hz = needed_hz
        keyframe = n == 0 or luck == 0
        kept = chosen.wants(layer, n / FPS, keyframe)
        if keyframe:
            assert kept
            newest = {}
            continue
        rests_on = [0] if layer.sync else range(layer.number + 1)
        if kept:
            assert all(newest.get(below, True) for below in rests_on)
        assert kept or layer.number > 0
        newest[layer.number] = kept


@given(st.lists(st.tuples(LAYERS, st.floats(-2, 1e6)), max_size=50))
def test_irregular_times_never_skip_the_base_layer(frames: list[tuple[Layer, float]]) -> None:
    chosen = LayerFilter(4.0)
    for layer, pts_s in frames:
        assert chosen.wants(layer, pts_s, keyframe=False) or layer.number > 0


def decoded(units: list[MediaUnit]) -> dict[float, bytes]:
    """Returns pictures by media time, from units renumbered as a session does."""
    decoder = build_decoder(Codec.VP8, MediaLimits())
    pictures: dict[float, bytes] = {}
    for number, unit in enumerate(units):
        result = decoder.decode(msgspec.structs.replace(unit, sequence=number))
        assert result.dropped is None
        pictures |= {picture.pts_s: picture.rgb().tobytes() for picture in result.pictures}
    return pictures


def test_skipping_layers_does_not_change_the_decoded_pictures() -> None:
    units = layered_units("call", 150)
    chosen = LayerFilter(4.0)
    kept: list[MediaUnit] = []
    for n, (unit, layer) in enumerate(units):
        chosen.needed_hz = 60.0 if 75 <= n < 110 else 4.0
        if chosen.wants(layer, unit.pts_s, unit.keyframe):
            kept.append(unit)
    whole, some = decoded([unit for unit, _ in units]), decoded(kept)
    assert len(whole) == 150
    assert len(some) == len(kept)
    by_layer = [sum(u.sequence % 4 == n for u in kept if 36 <= u.sequence < 76) for n in range(4)]
    assert by_layer == [10, 0, 0, 0]
    assert sum(84 <= unit.sequence < 110 for unit in kept) == 26
    assert {at_s: whole[at_s] for at_s in some} == some, "not a pixel differs"


def test_decoded_pictures_match_the_source() -> None:
    units = layered_units("call", 60)
    decoder = build_decoder(Codec.VP8, MediaLimits())
    base = [unit for unit, layer in units if layer.number == 0]
    shown = [
        number_on(picture.rgb())
        for n, unit in enumerate(base)
        for picture in decoder.decode(msgspec.structs.replace(unit, sequence=n)).pictures
    ]
    assert shown == list(range(0, 60, 4))
