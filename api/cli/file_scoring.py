"""Scores files on the command line: the code path of the service, with its own workers and without a network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from api.http.error_responses import Problem, problem_of
from api.settings.base import Settings
from api.settings.factories import files_at_once, running_service
from stream.errors import StreamError
from stream.event_bus import EventBus
from stream.file_type import SNIFF_BYTES, sniff
from stream.file_verdict import FileVerdict, JudgeOptions
from stream.stream_service import StreamService

Progress = Callable[[str, int, int], None]
"""Called with (file, done, planned) samples."""


class Scored(NamedTuple):
    """One scored file: its verdict, or the reason why there is none."""

    file: str
    verdict: FileVerdict | None
    problem: Problem | None

    def as_line(self) -> dict[str, Any]:
        """Returns the JSON object of `--json`; its `label` is REAL, FAKE, UNCERTAIN or NO_FACE."""
        if self.problem is not None:
            return {"file": self.file, "error": {"code": self.problem.code, "message": self.problem.message}}
        assert self.verdict is not None
        verdict = self.verdict
        return {
            "file": self.file,
            "file_type": verdict.file_type,
            "label": verdict.label.value,
            "prob_fake": verdict.prob_fake,
            "llr": verdict.llr,
            "frames_analyzed": verdict.frames_analyzed,
            "faces_detected": verdict.faces_detected,
            "reason": verdict.reason.value,
            "segments": msgspec.to_builtins(verdict.segments),
        }


def media_files(paths: Iterable[Path]) -> list[Path]:
    """Returns the paths with every folder replaced by the pictures and videos below it, in order of name.

    The first bytes of a file decide; other files and hidden ones are left out. A folder without any stays, so that it
    is reported.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(each for each in path.rglob("*") if _is_media(path, each)) if path.is_dir() else []
        found += inside or [path]
    return found


def _is_media(folder: Path, path: Path) -> bool:
    if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
        return False
    try:
        with path.open("rb") as opened:
            return sniff(opened.read(SNIFF_BYTES)) is not None
    except OSError:
        return True     # listed, so that its problem is reported


async def score_files(files: Iterable[Path], settings: Settings, progress: Progress) -> AsyncIterator[Scored]:
    """Yields one result per file, in order. Raises WorkerLost if no worker starts."""
    running: deque[asyncio.Task[Scored]] = deque()
    async with running_service(settings, EventBus()) as service:
        try:
            for file in files:
                options = JudgeOptions(max_samples=settings.video_frame_count)
                running.append(asyncio.create_task(_score(service, file, options, progress)))
                if len(running) >= files_at_once(settings):
                    yield await running.popleft()
            while running:
                yield await running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _score(service: StreamService, file: Path, options: JudgeOptions, progress: Progress) -> Scored:
    name, path = str(file), _absolute(file)
    if problem := await asyncio.to_thread(_unreadable, file):
        return Scored(name, None, problem)

    def tell(done: int, planned: int) -> None:
        progress(name, done, planned)

    try:
        return Scored(name, await service.judge(path, options, tell), None)
    except StreamError as error:
        return Scored(name, None, problem_of(error))


def _absolute(file: Path) -> Path:
    return file.absolute()      # workers may have another working directory


def _unreadable(file: Path) -> Problem | None:
    try:
        if file.is_dir():
            return Problem(404, "no_file", "the folder holds no picture and no video")
        if not file.is_file():
            return Problem(404, "no_file", "there is no such file")
        with file.open("rb") as opened:
            return None if opened.read(1) else Problem(400, "empty_file", "the file is empty")
    except OSError as error:
        return Problem(403, "unreadable", f"the file cannot be read ({error.strerror})")
