"""Worker process: `python -m stream.worker_main SETTINGS`, with SETTINGS the JSON of a WorkerSettings.

`stream.worker_pool` starts it with one end of a socket pair. It sends Hello when it is warm and serves until the socket
closes. It holds no state that other processes would lose with it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import av.logging
import cv2
import msgspec

from detector.config import DetectorConfig
from detector.errors import DetectorError
from detector.face_tracker import preload
from detector.factory import build_finder, build_scorer
from stream.crash_marker import CrashMarker
from stream.cusum import evidence_model
from stream.frame_analyser import FrameAnalyser
from stream.process_log import log_to_stderr
from stream.process_sandbox import confine, die_with
from stream.types import ModelRef
from stream.unit_decoder import check_libraries
from stream.worker_channel import WorkerChannel
from stream.worker_inbox import WorkerInbox
from stream.worker_loop import WorkerLoop
from stream.worker_messages import Hello
from stream.worker_pool_config import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.protocols import FaceFinder, FaceScorer

_Part = TypeVar("_Part")
_log = logging.getLogger("stream.worker_main")


def main(arguments: list[str]) -> None:
    settings = msgspec.json.decode(arguments[0], type=WorkerSettings)
    _start(settings)
    channel = WorkerChannel(socket.socket(fileno=settings.socket_fd))
    inbox = WorkerInbox(channel)
    analyser, hello = _load(settings)
    channel.send(hello)
    inbox.start()
    threading.Thread(target=preload, name="preload", daemon=True).start()
    WorkerLoop(channel, CrashMarker(settings.marker_fd), analyser, settings).run(inbox)


def _start(settings: WorkerSettings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # the parent handles Ctrl-C in a terminal
    die_with(settings.parent_pid)
    confine(settings.address_space_bytes, settings.max_files)
    log_to_stderr()
    av.logging.set_level(av.logging.PANIC)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(settings.threads)
    check_libraries()


def _load(settings: WorkerSettings) -> tuple[FrameAnalyser, Hello]:
    """Loads finder and scorer as far as their weights exist; Hello reports what is missing."""
    config = DetectorConfig(num_threads=settings.threads)
    if settings.weights_dir:
        config = DetectorConfig(weights_dir=Path(settings.weights_dir), num_threads=settings.threads)
    finder: FaceFinder | None
    scorer: FaceScorer | None
    finder, finder_problem = _built(build_finder, config)
    scorer, scorer_problem = _built(build_scorer, config)
    analyser = FrameAnalyser(finder, scorer, settings.limits.faces)
    analyser.warm_up()
    problem = "; ".join(text for text in (finder_problem, scorer_problem) if text)
    if finder is None or scorer is None:
        return analyser, Hello(pid=os.getpid(), model=None, problem=problem)
    info = scorer.info
    model = ModelRef(name=info.name, version=info.version, sha256=info.sha256, calibrated=info.is_calibrated)
    evidence = None if info.evidence is None else evidence_model(info.evidence)
    return analyser, Hello(pid=os.getpid(), model=model, problem=problem, evidence=evidence)


def _built(build: Callable[[DetectorConfig], _Part], config: DetectorConfig) -> tuple[_Part | None, str]:
    try:
        return build(config), ""
    except DetectorError as error:
        _log.warning("detector part not loaded: %s", error)
        return None, str(error)


if __name__ == "__main__":
    main(sys.argv[1:])
