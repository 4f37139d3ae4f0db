from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from api.cli.file_scoring import media_files
from api.cli.main import app
from api.settings.reference import settings_table
from api.version import VERSION
from tests.synthetic import Clip, video

ROOT = Path(__file__).resolve().parents[3]
PORTRAIT = ROOT / "tests" / "media" / "obama.jpg"
FIELDS = ["file", "file_type", "label", "prob_fake", "llr", "frames_analyzed", "faces_detected", "reason", "segments"]

NAMES = [
    "serve", "consume", "watch", "score", "produce", "publish", "demo", "doctor", "topics", "replay", "simulate",
    "livekit", "train", "settle", "export", "import-weights", "calibrate", "evaluate", "bench",
]
COMMANDS = [*([name] for name in NAMES), ["bench", "detector"], ["bench", "live"], ["bench", "kafka"]]


def run(*arguments: str | Path, timeout_s: float = 50) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "api.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)


def test_all_commands_are_listed() -> None:
    shown = CliRunner().invoke(app, ["--help"], terminal_width=78).output.split("Commands:")[1]
    rows = [line.split(maxsplit=1) for line in shown.splitlines() if line.strip()]
    assert [name for name, _ in rows] == NAMES
    assert not [meaning for _, meaning in rows if not meaning.endswith(".") or meaning.endswith("...")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_option_is_explained(command: list[str]) -> None:
    found: Any = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    told = {parameter.name: parameter.help for parameter in found.params}
    assert not {name for name, meaning in told.items() if not re.fullmatch(r"[A-Z].*\.", meaning or "")}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output or "usage" in result.output


def test_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"deepguard {VERSION}\n"


def test_the_help_of_serve_has_the_table_of_settings() -> None:
    shown = CliRunner().invoke(app, ["serve", "--help"]).output
    told = re.findall(r"^ +([A-Z_]+) +(\S.*)\n +default: (.*); allowed: (.*)$", shown, re.M)
    rows = settings_table()
    assert told == [(row.name, row.meaning, row.default or "empty", row.allowed) for row in rows]


@pytest.mark.timeout(120)
def test_files_are_scored_in_order_and_a_bad_one_stops_nobody(tmp_path: Path) -> None:
    clip = video(tmp_path / "clip.mp4", Clip(frames=30))
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder").mkdir()
    files = [PORTRAIT, tmp_path / "absent.jpg", clip, text, tmp_path / "empty.jpg", tmp_path / "folder", PORTRAIT]
    done = run("score", "--json", "--workers", "1", *files)
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(file) for file in files]
    assert [line.get("error", {}).get("code") for line in lines] == [
        None, "no_file", None, "unsupported_media", "empty_file", "no_file", None,
    ]
    for line in (lines[0], lines[2]):
        assert list(line) == FIELDS
    assert (lines[0]["file_type"], lines[0]["frames_analyzed"]) == ("image", 1)
    assert lines[0]["faces_detected"] >= 1
    assert (lines[2]["file_type"], lines[2]["label"], lines[2]["reason"]) == ("video", "NO_FACE", "no_face")
    assert lines[0] == lines[6]


@pytest.mark.timeout(120)
def test_a_table_for_people(tmp_path: Path) -> None:
    done = run("score", "--workers", "1", PORTRAIT)
    assert done.returncode == 0, done.stderr
    assert "obama.jpg" in done.stdout.replace("\n", "")
    assert done.stdout.splitlines()[0].split()[:3] == ["file", "label", "P(fake)"]


@pytest.mark.parametrize(
    "arguments",
    [["score"], ["serve", "--port", "99999"], ["nothing"], ["export", "nowhere", "--out", "x", "--version", "1"]],
)
def test_what_cannot_be_run_ends_with_2_and_no_traceback(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_training_data_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = run("train", tmp_path / "absent", "--base-weights", tmp_path / "absent.npz", "--run-dir", tmp_path / "run")
    assert done.returncode == 2
    assert "absent" in done.stderr
    assert "Traceback" not in done.stderr


def test_folders_stand_for_the_media_in_them(tmp_path: Path) -> None:
    for name in ("b/second.bin", "a/first.jpg", ".hidden/third.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PORTRAIT.read_bytes())
    (tmp_path / "notes.txt").write_text("no media")
    missing = tmp_path / "missing.jpg"
    assert media_files([tmp_path, missing]) == [tmp_path / "a/first.jpg", tmp_path / "b/second.bin", missing]
