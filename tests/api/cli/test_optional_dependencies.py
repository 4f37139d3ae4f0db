"""What Keras computes on is chosen before it is imported, and what is missing is named."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.optional_dependencies import Backend, keras_on, with_extra

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets is gone after it."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")


def test_the_option_goes_before_the_environment_and_that_before_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras_on(Backend.TENSORFLOW)
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    monkeypatch.delenv("KERAS_BACKEND")
    keras_on(None)
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize("backend", [Backend.JAX, Backend.TORCH])
def test_a_backend_that_is_not_installed_is_named(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, backend, None)     # as if it were not here
    command = ["train", str(tmp_path), "--base-weights", "none.npz", "--run-dir", str(tmp_path / "run")]
    by_option = CliRunner().invoke(app, [*command, "--backend", backend])
    monkeypatch.setenv("KERAS_BACKEND", backend)
    by_environment = CliRunner().invoke(app, command)
    for done in (by_option, by_environment):
        assert done.exit_code == 2
        assert f"pip install {backend}" in done.output
    assert not (tmp_path / "run").exists()


def test_a_backend_that_nobody_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "abacus")
    done = CliRunner().invoke(app, ["train", str(tmp_path), "--base-weights", "none.npz"])
    assert done.exit_code == 2
    assert "abacus" in done.output


def test_without_keras_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(typer.Exit) as ended:
        keras_on(None)
    assert ended.value.exit_code == 2
    assert "deepguard[train]" in capsys.readouterr().err


def test_a_module_whose_extra_is_missing_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        with_extra("no_such_module", "bench")
    assert ended.value.exit_code == 2
    assert "deepguard[bench]" in capsys.readouterr().err
