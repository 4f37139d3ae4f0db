from __future__ import annotations

import fcntl
import resource
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import ClientDisconnect, Request

from api.errors import Busy, UploadRefused
from api.uploads.spool import Spool, Upload
from tests.api.forms import CONTENT_TYPE, form, part

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIA = Path(__file__).resolve().parents[2] / "media"
JPEG = (MEDIA / "obama.jpg").read_bytes()
PNG_MAGIC = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
MP4_MAGIC = b"\0\0\0\x18ftypisom" + b"\0" * 100


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", slots=2, max_file_bytes=500_000)
    spool.open()
    yield spool
    spool.close()
    assert list((tmp_path / "spool").iterdir()) == []


def request_of(body: bytes, chunk_bytes: int = 50_000, gone_after: int | None = None, **headers: str) -> Request:
    """A request with a chunked body; the client disconnects after `gone_after` chunks."""
    pieces = [body[i : i + chunk_bytes] for i in range(0, len(body), chunk_bytes)] or [b""]
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": i < len(pieces) - 1} for i, piece in enumerate(pieces)
    ]
    if gone_after is not None:
        messages = [*messages[:gone_after], {"type": "http.disconnect"}]
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    all_headers = {"content-type": CONTENT_TYPE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in all_headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


def stored(spool: Spool) -> list[Path]:
    assert spool._folder is not None
    return [path for path in spool._folder.iterdir() if path.name != "lock"]


async def receive(spool: Spool, content: bytes, name: str = "a.jpg") -> Upload:
    return await spool.receive(request_of(form(part(content, filename=name))))


async def test_a_file_is_stored_privately_and_then_discarded(spool: Spool) -> None:
    upload = await receive(spool, JPEG)
    assert upload.path.read_bytes() == JPEG
    assert (upload.size_bytes, upload.file_type, len(upload.sha256)) == (len(JPEG), "image", 64)
    assert stat.S_IMODE(upload.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(upload.path.parent.stat().st_mode) == 0o700
    assert "a.jpg" not in upload.path.name
    upload.discard()
    upload.discard()
    assert stored(spool) == []
    assert spool.free_slots == 2


async def test_places_are_bounded_and_come_back(spool: Spool) -> None:
    first, second = await receive(spool, JPEG), await receive(spool, JPEG)
    with pytest.raises(Busy) as full:
        await receive(spool, JPEG)
    assert full.value.retry_after_s
    first.discard()
    third = await receive(spool, JPEG)
    for upload in (second, third):
        upload.discard()
    assert spool.free_slots == 2


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"", "a.jpg", (400, "empty_file")),
        (b"x" * 500_001, "a.jpg", (413, "too_large")),
        (b"just text", "a.jpg", (415, "unsupported_media")),
        (b"just text", "blob", (415, "unsupported_media")),
        (b"MZ\x90\x00", "a.exe", (415, "unsupported_media")),
        (b"#EXTM3U\n", "a.m3u8", (415, "unsupported_media")),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "a.mp4", (415, "unsupported_media")),
        (b"v=0\r\nc=IN IP4 127.0.0.1\r\n", "a.mp4", (415, "unsupported_media")),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.jpg", (415, "unsupported_media")),
    ],
)
async def test_a_refused_upload_leaves_no_file(
    spool: Spool, content: bytes, name: str, expected: tuple[int, str]
) -> None:
    with pytest.raises(UploadRefused) as refused:
        await receive(spool, content, name)
    assert (refused.value.status, refused.value.code) == expected
    assert stored(spool) == []
    assert spool.free_slots == 2


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (JPEG, "a.png", "image"),
        (JPEG, "a.exe", "image"),
        (JPEG, "a.mp4", "image"),
        (MP4_MAGIC, "a.jpg", "video"),
        (b"GIF89a" + b"\0" * 50, "a.png", "image"),
        (PNG_MAGIC, "a.PNG", "image"),
        (MP4_MAGIC, "a.mov", "video"),
        (MP4_MAGIC, "blob", "video"),
    ],
)
async def test_the_content_decides(spool: Spool, content: bytes, name: str, kind: str) -> None:
    upload = await receive(spool, content, name)
    assert upload.file_type == kind
    upload.discard()


@pytest.mark.parametrize("gone_after", [0, 1, 2])
async def test_a_client_that_leaves_leaves_nothing(spool: Spool, gone_after: int) -> None:
    with pytest.raises(ClientDisconnect):
        await spool.receive(request_of(form(part(JPEG)), gone_after=gone_after))
    assert stored(spool) == []
    assert spool.free_slots == 2


async def test_encoded_bodies_are_refused(spool: Spool) -> None:
    with pytest.raises(UploadRefused) as refused:
        await spool.receive(request_of(form(part(JPEG)), content_encoding="gzip"))
    assert (refused.value.status, refused.value.code) == (415, "content_encoding")


async def test_a_disk_that_takes_no_more_is_a_503(spool: Spool) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(Busy) as refused:
            await receive(spool, JPEG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.code == "storage_failed"
    assert stored(spool) == []
    assert spool.free_slots == 2


def test_only_an_abandoned_folder_is_removed(tmp_path: Path) -> None:
    dead, alive, foreign = (tmp_path / f"deepguard-spool-{name}" for name in ("dead", "alive", "foreign"))
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "lock").touch()
        (folder / "upload").touch()
    foreign.mkdir()
    with (alive / "lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        spool = Spool(tmp_path, 1, 1000)
        spool.open()
        assert not dead.exists()
        assert (alive / "upload").exists()
        assert foreign.exists()
        spool.close()
