from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.errors import SettingsRefused
from api.logging_setup import FILE_NAME, logging_to
from api.settings.base import Settings

ROOT = Path(__file__).resolve().parents[2]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE_NAME).read_text().splitlines()]


def test_the_file_has_one_json_object_per_line(tmp_path: Path) -> None:
    with logging_to(Settings(log_dir=str(tmp_path))):
        structlog.get_logger("ours").info("stream started", stream="a", faces=2)
        logging.getLogger("theirs").warning("%s of %s", 1, 2)
        try:
            raise ZeroDivisionError
        except ZeroDivisionError as error:
            structlog.get_logger("ours").error("unexpected error", exc_info=error)
    started, foreign, failed = lines_of(tmp_path)
    assert (started["event"], started["stream"], started["faces"]) == ("stream started", "a", 2)
    assert started["level"] == "info"
    assert started["logger"] == "ours"
    assert started["timestamp"].endswith("Z")
    assert (foreign["event"], foreign["logger"]) == ("1 of 2", "theirs")
    assert "ZeroDivisionError" in failed["exception"]


def test_the_level_holds(tmp_path: Path) -> None:
    with logging_to(Settings(log_dir=str(tmp_path), log_level="WARNING")):
        structlog.get_logger("ours").info("quiet")
        structlog.get_logger("ours").warning("loud")
    assert [line["event"] for line in lines_of(tmp_path)] == ["loud"]


def test_libraries_that_log_addresses_are_quiet(tmp_path: Path) -> None:
    with logging_to(Settings(log_dir=str(tmp_path), debug=False)):
        logging.getLogger("aioice.ice").info("Check CandidatePair(('192.0.2.1', 5)...")
        logging.getLogger("uvicorn.error").info('192.0.2.1:5 - "WebSocket /ws?a=b" [accepted]')
    assert lines_of(tmp_path) == []


def test_an_empty_folder_name_means_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with logging_to(Settings(log_dir="")):
        structlog.get_logger("ours").info("nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(log_dir=str(tmp_path / "file" / "x"))
    with pytest.raises(SettingsRefused, match=r"^LOG_DIR: "), logging_to(settings):
        pass


def test_the_file_is_rotated(tmp_path: Path) -> None:
    with logging_to(Settings(log_dir=str(tmp_path))):
        for _ in range(12):
            structlog.get_logger("ours").info("filler", filler="x" * 2**20)
    assert (tmp_path / f"{FILE_NAME}.1").exists()


@pytest.mark.timeout(60)
def test_a_blocked_terminal_does_not_block_the_service() -> None:
    """The log is a full pipe; the program continues, and ends when the pipe closes."""
    program = (
        "import structlog, time\n"
        "from api.logging_setup import logging_to\nfrom api.settings.base import Settings\n"
        "with logging_to(Settings(log_dir='')):\n"
        "    started = time.monotonic()\n"
        "    for _ in range(20000): structlog.get_logger('ours').info('filler', filler='x' * 200)\n"
        "    print(time.monotonic() - started, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert float(process.stdout.readline()) < 30
        drained_until_s = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < drained_until_s:
            process.stderr.read(65536)
    assert process.wait(10) == 0


def test_the_log_of_a_service_has_no_addresses_tokens_or_queries(tmp_path: Path) -> None:
    from tests.api.rig import running_rig

    with (
        logging_to(Settings(log_dir=str(tmp_path), debug=True)),
        running_rig(api_keys="a-key-that-is-long-enough") as rig,
        rig.client("a-key-that-is-long-enough") as client,
    ):
        client.get("/v1/streams/whoever?token=in-the-query")
        client.get("/v1/streams/whoever", headers={"Authorization": "Bearer some-other-token"})
        client.post("/predict", files={"file": ("a-file-name.jpg", b"content-of-the-file")})
    text = (tmp_path / FILE_NAME).read_text()
    requests = [line for line in lines_of(tmp_path) if line["event"] == "request"]
    assert [(line["method"], line["route"], line["status"]) for line in requests] == [
        ("GET", "/v1/streams/{stream_id}", 404), ("GET", "/v1/streams/{stream_id}", 401), ("POST", "/predict", 415),
    ]
    private = ("in-the-query", "a-key-that-is", "some-other", "whoever", "a-file-name", "content-of", f":{rig.port}")
    assert [word for word in private if word in text] == []
