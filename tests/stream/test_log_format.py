from __future__ import annotations

import json
import logging
import os
import sys

import pytest

from stream.log_format import JsonLines, TerminalLines, without_secrets


def test_a_worker_logs_one_json_object_per_line_with_the_keys_of_the_service() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        error = sys.exc_info()
    where = {"stream": "a", "epoch": 7}
    record = logging.getLogger("stream.worker_loop").makeRecord(
        "stream.worker_loop", logging.ERROR, __file__, 1, "stream %s", ("failed",), error, extra=where
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert told.pop("exception").endswith("ValueError: two\nlines")
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "event": "stream failed", "logger": "stream.worker_loop", "level": "error", "worker": os.getpid(),
        "stream": "a", "epoch": 7,
    }  # fmt: skip


def test_fields_of_any_type_are_logged() -> None:
    record = logging.makeLogRecord({"msg": "seen", "what": object})
    assert json.loads(JsonLines().format(record))["what"] == "<class 'object'>"


@pytest.mark.parametrize(("text", "left"), [
    ("GET https://me:hush@a.test/x?token=hush failed", "GET https://a.test/x?... failed"),
    ("('http://a.test/x.ts?t=hush', 2)", "('http://a.test/x.ts?...', 2)"), ("rtsp://hush@a:554/x", "rtsp://a:554/x"),
    ("url=crypto+https://a/b?hush\\n", "url=crypto+https://a/b?...\\n"), ("what? me@home", "what? me@home"),
    ("http://a/1?hush http://b:hush@c/", "http://a/1?... http://c/"), ("http://a/b/@c", "http://a/b/@c"),
])  # fmt: skip
def test_lines_hold_no_logins_and_queries_of_urls(text: str, left: str) -> None:
    assert without_secrets(text) == left
    record = logging.makeLogRecord({"msg": text, "cause": text})
    assert "hush" not in JsonLines().format(record) + TerminalLines().format(record)
