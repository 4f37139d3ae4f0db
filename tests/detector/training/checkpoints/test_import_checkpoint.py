"""Import of PyTorch checkpoints: no code of the file runs, and logits equal those in PyTorch."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.diagnostics.local_checks import check_model
from api.settings.base import load_settings
from detector.config import DetectorConfig, Precision
from detector.errors import WeightsRefused
from detector.face_crop import crop_face
from detector.model_artifact import read_manifest
from detector.openvino_scorer import OpenVinoScorer, compile_for_cpu
from detector.training.checkpoints.import_checkpoint import CheckpointFormat, convert, import_weights
from detector.training.checkpoints.torch_state_dict import read_state_dict
from detector.types import NetworkInput, Padding
from detector.xception_openvino import build_graph
from tests.detector.pictures import portrait
from tests.detector.torch_xception import forward, random_state_dict, write_pth, write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.detector.torch_xception import Tensors

# On even sides PyTorch pads a halving pool on both sides, which 299 px, odd all the way but once, hardly shows.
SIZE_PX = 128
OUTSIDE = b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'


@pytest.fixture(scope="module")
def weights() -> Tensors:
    return random_state_dict()


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    noise = np.random.default_rng(3).integers(0, 256, (2, SIZE_PX, SIZE_PX, 3))
    return (noise // np.array([1, 3])[:, None, None, None]).astype(np.uint8)


def logits(
    weights: Tensors, source: CheckpointFormat, pixels: NDArray[np.uint8], padding: Padding = Padding.BOTH
) -> NDArray[np.float32]:
    graph = build_graph(convert(weights, source), network_input=NetworkInput(source.size_px, padding))
    return np.asarray(compile_for_cpu(graph, 1, Precision.FLOAT32)([pixels])[0])


def normalised(pixels: NDArray[np.uint8], source: CheckpointFormat) -> NDArray[np.float32]:
    planes = pixels if source.colour == "rgb" else pixels[:, :, :, ::-1]
    scaled = (planes.astype(np.float32) / 255 - np.array(source.mean)) / np.array(source.sd)
    return scaled.transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.parametrize(
    "source",
    [
        CheckpointFormat(SIZE_PX),
        CheckpointFormat(SIZE_PX, "bgr", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), fake_class=0),
    ],
    ids=["as published", "other colours"],
)
def test_imported_weights_give_the_logits_of_pytorch(
    weights: Tensors, pixels: NDArray[np.uint8], source: CheckpointFormat
) -> None:
    two = forward(weights, normalised(pixels, source))
    expected = two[:, source.fake_class] - two[:, 1 - source.fake_class]
    said = logits(weights, source, pixels)
    assert np.ptp(expected) > 1e-2, "a network with constant output proves nothing"
    assert np.abs(said - expected).max() <= 1e-4


def test_padding_of_pools_changes_the_logits(weights: Tensors, pixels: NDArray[np.uint8]) -> None:
    ours, theirs = (logits(weights, CheckpointFormat(SIZE_PX), pixels, padding) for padding in Padding)
    assert np.abs(ours - theirs).max() > 1e-3


def test_one_output_and_framework_prefixes(weights: Tensors, pixels: NDArray[np.uint8]) -> None:
    head = {"last_linear.weight": weights["last_linear.weight"][:1], "last_linear.bias": np.zeros(1, np.float32)}
    one = weights | head
    prefixed = {f"module.backbone.{name}": array for name, array in one.items()}
    prefixed["module.other.weight"] = np.zeros(3, np.float32)
    source = CheckpointFormat(SIZE_PX)
    assert np.allclose(logits(prefixed, source, pixels), forward(one, normalised(pixels, source))[:, 0], atol=1e-4)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_both_kinds_of_file_are_read(tmp_path: Path, weights: Tensors, wrapper: str | None) -> None:
    few = {name: array for name, array in weights.items() if name.startswith(("conv1", "bn1", "last"))}
    write_safetensors(tmp_path / "a.safetensors", few)
    write_pth(tmp_path / "a.pth", few, wrapper)
    for read in (read_state_dict(tmp_path / "a.safetensors"), read_state_dict(tmp_path / "a.pth")):
        assert read.keys() == few.keys()
        assert all(np.array_equal(read[name], array) for name, array in few.items())


def test_half_precision_is_read(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    numbers = np.array([0x3F80, 0xC000], "<u2").tobytes()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + numbers)
    assert read_state_dict(tmp_path / "a.safetensors")["a"].tolist() == [1.0, -2.0]


class Hostile:
    """Runs a command wherever it is unpickled plainly."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return subprocess.getoutput, (self.command,)


def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    trace, path = tmp_path / "it-ran", tmp_path / "evil.pth"
    content = io.BytesIO()
    pickle.dump({"conv1.weight": Hostile(f"touch {trace}")}, content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content.getvalue())
    with pytest.raises(WeightsRefused, match="getoutput"):
        read_state_dict(path)
    assert not trace.exists()
    pickle.loads(content.getvalue())
    assert trace.exists(), "the file would have done it"


@pytest.mark.parametrize("name", ["numpy.core.multiarray _reconstruct", "builtins eval", "torch.nn.modules Module"])
def test_pickles_with_other_names_are_refused(tmp_path: Path, name: str) -> None:
    module, attribute = name.split()
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.GLOBAL + f"{module}\n{attribute}\n".encode() + pickle.STOP)
    with pytest.raises(WeightsRefused, match=attribute):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"nothing", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", len(OUTSIDE)) + OUTSIDE,
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_broken_files_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with pytest.raises(WeightsRefused):
        read_state_dict(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block5.rep.2.running_var": None}, "block5.rep.2.running_var"),
        ({"last_linear.weight": np.zeros((3, 2048), np.float32)}, "outputs"),
        ({"conv3.pointwise.weight": np.zeros(4, np.float32)}, "conv3"),
        ({"conv2.weight": np.full((64, 32, 3, 3), np.nan, np.float32)}, "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: Tensors, change: dict[str, Any], message: str) -> None:
    changed = {name: array for name, array in (weights | change).items() if array is not None}
    with pytest.raises(WeightsRefused, match=message):
        convert(changed, CheckpointFormat())


def test_an_imported_model_is_served_as_uncalibrated(tmp_path: Path, weights: Tensors) -> None:
    write_safetensors(tmp_path / "ours.safetensors", weights)
    done = CliRunner().invoke(
        app, ["import-weights", str(tmp_path / "ours.safetensors"), "--out", str(tmp_path / "model"), "--size", "128"]
    )
    assert done.exit_code == 0, done.output
    assert "not calibrated" in done.output
    manifest = read_manifest(tmp_path / "model")
    assert manifest.network_input == NetworkInput(128, Padding.BOTH)
    assert manifest.trained["imported"]["mean"] == [0.5, 0.5, 0.5]
    found = check_model(load_settings(model_path=tmp_path / "model"))
    assert (found.level, "not calibrated" in found.said) == ("warn", True)
    scorer = OpenVinoScorer(DetectorConfig(weights_dir=tmp_path / "model", precision=Precision.FLOAT32))
    assert not scorer.info.is_calibrated
    person = portrait(1)
    (score,) = scorer.score([crop_face(person.rgb, person.face)])
    assert 0 < score.prob_fake < 1
    assert score.heat_map.shape == (4, 4)


@pytest.mark.parametrize("options", [["--mean", "1,2"], ["--std", "0,0,0"], ["--colour", "cmyk"], ["--size", "20"]])
def test_invalid_options_are_refused(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    done = CliRunner().invoke(
        app, ["import-weights", str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "model"), *options]
    )
    assert done.exit_code == 2
    assert not (tmp_path / "model").exists()


def test_an_import_replaces_an_earlier_model(tmp_path: Path, weights: Tensors) -> None:
    write_safetensors(tmp_path / "a.safetensors", weights)
    first = import_weights(tmp_path / "a.safetensors", tmp_path / "model", CheckpointFormat(128), "one", "1")
    second = import_weights(tmp_path / "a.safetensors", tmp_path / "model", CheckpointFormat(160), "one", "2")
    assert read_manifest(tmp_path / "model") == second
    assert first.sha256 == second.sha256
