from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector.errors import WeightsRefused
from detector.mtcnn_finder import WEIGHTS_FOLDER
from detector.mtcnn_openvino import load_weights
from detector.training.checkpoints import convert_mtcnn

if TYPE_CHECKING:
    from pathlib import Path


def test_the_shipped_arrays_are_the_published_ones(tmp_path: Path) -> None:
    convert_mtcnn.main([str(tmp_path)])
    shipped, converted = load_weights(WEIGHTS_FOLDER), load_weights(tmp_path)
    assert shipped.keys() == converted.keys()
    for name, array in converted.items():
        np.testing.assert_array_equal(shipped[name], array)


def test_the_entry_pins_the_file_and_names_source_and_licence() -> None:
    entry = json.loads((WEIGHTS_FOLDER / "mtcnn.json").read_text(encoding="utf-8"))
    data = (WEIGHTS_FOLDER / entry["file"]).read_bytes()
    assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    assert entry["licence"] == "MIT"
    assert "mtcnn 1.0.0" in entry["source"]


def test_files_with_another_digest_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(convert_mtcnn.PUBLISHED_SHA256, "pnet", "0" * 64)
    with pytest.raises(WeightsRefused, match="expected sha256"):
        convert_mtcnn.published_arrays("pnet")


def test_the_first_dense_layer_reads_channel_row_column() -> None:
    """The published layer reads its input in column, row, channel order."""
    side, channels = convert_mtcnn.FLATTENED_SIDE, 2
    published = np.arange(side * side * channels, dtype=np.float32)[:, None]
    serving = convert_mtcnn.serving_kernel(published, first_dense=True)
    column, row, channel = 2, 1, 1
    assert serving[0, (channel * side + row) * side + column] == (column * side + row) * channels + channel
