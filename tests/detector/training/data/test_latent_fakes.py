"""Families of an image autoencoder. The tests build a tiny one: each cell of 8 x 8 px becomes its mean colour."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector.errors import TrainingRefused
from detector.openvino_runtime import ops, ov
from detector.training.data.fake_families import SHARES, families
from detector.training.data.latent_fakes import LatentCodec, LatentSwap, Redrawn
from tests.detector.pictures import portrait
from tests.detector.training.data.test_fake_families import leak

if TYPE_CHECKING:
    from pathlib import Path

    from detector.training.data.face_blending import BlendedPair
    from detector.training.data.fake_protocol import FakeFamily

PEOPLE = [replace(portrait(seed), name=f"picture-{seed}") for seed in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoder: mean over cells of 8 x 8 px. Decoder: every cell at its original size."""
    path = tmp_path_factory.mktemp("autoencoder")
    pixels = ops.parameter([-1, 3, -1, -1], np.float32, name="x")
    means = ops.avg_pool(pixels, [8, 8], [0, 0], [0, 0], [8, 8], exclude_pad=True)
    ov.save_model(ov.Model([means], [pixels]), path / "tiny_encoder.xml", compress_to_fp16=False)
    latent = ops.parameter([-1, 3, -1, -1], np.float32, name="x")
    scales = ops.constant(np.array([8.0, 8.0], np.float32))
    drawn = ops.interpolate(latent, scales, "linear_onnx", "scales", axes=ops.constant(np.array([2, 3])))
    ov.save_model(ov.Model([drawn], [latent]), path / "tiny_decoder.xml", compress_to_fp16=False)
    return path


@pytest.fixture(scope="module")
def kinds(folder: Path) -> dict[str, FakeFamily]:
    return {kind.name: kind for kind in families({}, LatentCodec(folder))}


def pairs(kind: FakeFamily, count: int) -> list[BlendedPair]:
    rng = np.random.default_rng(2)
    return [kind.make(rng, PEOPLE[index % len(PEOPLE)], PEOPLE) for index in range(count)]


def test_the_codec_encodes_and_decodes_with_its_networks(folder: Path) -> None:
    codec = LatentCodec(folder)
    rgb = np.repeat(np.repeat(np.array([[[0, 50, 100], [200, 150, 255]]], np.uint8), 8, axis=0), 8, axis=1)
    latent = codec.encode(rgb)
    assert latent.shape == (1, 3, 1, 2)
    assert latent[0, :, 0, 0] == pytest.approx(np.array([0, 50, 100]) / 255, abs=1e-5)
    assert codec.decode(latent).shape == (8, 16, 3)
    trip = codec.round_trip(PEOPLE[0].rgb, 160)
    assert trip.shape == PEOPLE[0].rgb.shape
    assert cv2.Laplacian(trip, cv2.CV_32F).var() < 0.5 * cv2.Laplacian(PEOPLE[0].rgb, cv2.CV_32F).var()


def test_a_folder_without_one_pair_of_networks_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingRefused, match="encoder"):
        LatentCodec(tmp_path)
    for name in ("a_encoder.onnx", "b_encoder.xml"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(TrainingRefused, match="found 2"):
        LatentCodec(tmp_path)


def test_the_families_exist_only_with_a_codec(kinds: dict[str, FakeFamily]) -> None:
    assert {"latent", "redrawn"} <= set(kinds) <= set(SHARES)
    assert not {"latent", "redrawn"} & {kind.name for kind in families({})}


@pytest.mark.parametrize("name", ["latent", "redrawn"])
def test_halves_are_bit_identical_outside_the_mask_and_differ_inside(kinds: dict[str, FakeFamily], name: str) -> None:
    for pair in pairs(kinds[name], 6):
        outside = pair.mask == 0
        assert outside.mean() > 0.2
        assert np.array_equal(pair.real[outside], pair.fake[outside])
        assert (pair.real[~outside] != pair.fake[~outside]).mean() > 0.05
        assert pair.kind == name


@pytest.mark.parametrize("name", ["latent", "redrawn"])
def test_blocks_outside_the_mask_do_not_reveal_the_label(kinds: dict[str, FakeFamily], name: str) -> None:
    assert abs(leak(pairs(kinds[name], 16)) - 0.5) < 0.03


def test_the_real_half_is_redrawn_always_or_sometimes(kinds: dict[str, FakeFamily]) -> None:
    """Decoder texture alone is not evidence of a fake: real halves have it too."""

    def is_redrawn(pair: BlendedPair, index: int) -> bool:
        return not np.array_equal(pair.real, PEOPLE[index % len(PEOPLE)].rgb)

    assert all(is_redrawn(pair, index) for index, pair in enumerate(pairs(kinds["redrawn"], 8)))
    changed = [is_redrawn(pair, index) for index, pair in enumerate(pairs(kinds["latent"], 40))]
    assert 0 < sum(changed) < 20


def test_the_same_face_is_redrawn_without_another_person(folder: Path) -> None:
    """Without other people, only pairs with decoder texture and without a change of identity are possible."""
    alone, made = LatentSwap(LatentCodec(folder)), 0
    for seed in range(20):
        try:
            pair = alone.make(np.random.default_rng(seed), PEOPLE[0], PEOPLE[:1])
        except ValueError:
            continue
        made += 1
        assert np.array_equal(pair.real, PEOPLE[0].rgb)
    assert 1 <= made < 20


def test_redrawn_passes_on_the_refusal_of_its_inner_family(folder: Path) -> None:
    class Refuses:
        name = "refuses"

        def make(self, rng: np.random.Generator, target: object, others: object) -> BlendedPair:
            raise ValueError("no pair")

    with pytest.raises(ValueError, match="no pair"):
        Redrawn(Refuses(), LatentCodec(folder)).make(np.random.default_rng(0), PEOPLE[0], PEOPLE)
