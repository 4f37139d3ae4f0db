from __future__ import annotations

import hashlib
import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import UploadRefused
from api.uploads.multipart import FilePartReader, ReceivedFile
from tests.api.forms import BOUNDARY, CONTENT_TYPE, form, part

LIMIT_BYTES = 10_000


def read(
    body: bytes, cuts: tuple[int, ...] = (), content_type: str | None = CONTENT_TYPE
) -> tuple[ReceivedFile, bytes]:
    sink = io.BytesIO()
    reader = FilePartReader(content_type, sink, LIMIT_BYTES)
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        reader.feed(body[start:end])
    return reader.finish(), sink.getvalue()


def outcome(body: bytes, cuts: tuple[int, ...], content_type: str | None = CONTENT_TYPE) -> int:
    """200, or the status of the refusal."""
    try:
        read(body, cuts, content_type)
    except UploadRefused as refused:
        return refused.status
    return 200


def refusal(body: bytes, content_type: str | None = CONTENT_TYPE) -> tuple[int, str]:
    with pytest.raises(UploadRefused) as refused:
        read(body, (), content_type)
    return refused.value.status, refused.value.code


@given(st.binary(min_size=1, max_size=4000), st.lists(st.integers(0, 10_000), max_size=20))
def test_the_file_comes_through_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    if b"\r\n--" + BOUNDARY in content:
        return
    received, written = read(form(part(content)), tuple(cuts))
    assert written == content
    assert received == ReceivedFile("a.jpg", len(content), hashlib.sha256(content).hexdigest(), content[:1024])


@given(st.lists(st.sampled_from([b"\r\n", b"--", BOUNDARY, b"-", b"\r", b"\n", b"x", BOUNDARY[:-1]]), max_size=60))
def test_a_partial_boundary_is_content(pieces: list[bytes]) -> None:
    content = b"".join(pieces) + b"."
    if b"\r\n--" + BOUNDARY in b"\r\n" + content:
        return
    for step in (1, 7, 10_000):
        assert read(form(part(content)), tuple(range(0, 2000, step)))[1] == content


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=5))
def test_no_body_raises_anything_but_a_refusal(tail: bytes, cuts: list[int]) -> None:
    for body in (tail, b"--" + BOUNDARY + b"\r\n" + tail, part(b"x")[:-2] + tail, form(part(b"x"))[:-5] + tail):
        assert outcome(body, tuple(cuts)) in (200, 400, 413)


@given(st.text(max_size=100))
def test_no_content_type_raises_anything_but_a_refusal(text: str) -> None:
    for content_type in (text, "multipart/form-data;" + text, "multipart/form-data; boundary=" + text):
        as_sent = content_type.encode("latin-1", "replace").decode("latin-1")
        assert outcome(form(part(b"x")), (), as_sent) in (200, 400, 415)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (form(), (400, "no_file")),
        (form(part(b"x", filename=None)), (400, "no_file")),
        (form(part(b"x", name="picture")), (400, "no_file")),
        (form(part(b"", filename="")), (400, "no_file")),
        (form(part(b"")), (400, "empty_file")),
        (form(part(b"x"), part(b"y")), (400, "too_many_files")),
        (form(*[part(b"x", f"f{i}", None) for i in range(1001)]), (400, "too_many_parts")),
        (form(part(b"x" * 2000, "note", None), part(b"x")), (400, "field_too_long")),
        (form(part(b"x" * (LIMIT_BYTES + 1))), (413, "too_large")),
        (form(part(b"x", headers=b"X-A: b\r\n" * 20)), (400, "bad_multipart")),
        (form(part(b"x", headers=b"X-A: " + b"b" * 9000 + b"\r\n")), (400, "bad_multipart")),
        (part(b"x"), (400, "bad_multipart")),
        (b"", (400, "bad_multipart")),
        (b"no form at all", (400, "bad_multipart")),
    ],
)
def test_refused_forms(body: bytes, expected: tuple[int, str]) -> None:
    assert refusal(body) == expected


def test_a_file_of_exactly_the_limit_is_taken() -> None:
    received, _ = read(form(part(b"x" * LIMIT_BYTES)))
    assert received.size_bytes == LIMIT_BYTES


def test_the_limit_is_in_the_message() -> None:
    with pytest.raises(UploadRefused, match=f"the limit of {LIMIT_BYTES} bytes"):
        read(form(part(b"x" * (LIMIT_BYTES + 1))))


def test_short_fields_beside_the_file_are_left_alone() -> None:
    assert read(form(part(b"note", "note", None), part(b"x"), part(b"more", "more", None)))[1] == b"x"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (None, (415, "expected_multipart")),
        ("application/json", (415, "expected_multipart")),
        ("application/x-www-form-urlencoded", (415, "expected_multipart")),
        ("multipart/mixed; boundary=x", (415, "expected_multipart")),
        ("multipart/form-data", (400, "bad_multipart")),
        ("multipart/form-data; boundary=" + "x" * 300, (400, "bad_multipart")),
    ],
)
def test_refused_content_types(content_type: str | None, expected: tuple[int, str]) -> None:
    assert refusal(form(part(b"x")), content_type) == expected
