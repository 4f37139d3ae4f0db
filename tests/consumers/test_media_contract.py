"""Media contract: every record is either parsed or refused with a code."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import media_contract, record_headers
from consumers.errors import ContractBroken
from consumers.media_contract import (
    KIND_OF,
    ClaimCheck,
    ContentType,
    EndOfStream,
    Item,
    Kind,
    Media,
    RecordIdentity,
    encode,
    parse,
)
from consumers.record_headers import MAX_HEADER_BYTES, MAX_NUMBER
from stream.identity import STREAM_ID
from tests.consumers.records import EOS, FRAME, UNIT, RawRecord

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "contracts" / "kafka.md").read_text()


def read(record: RawRecord) -> Item:
    return parse(record.key, record.value, record.all_headers)


def refusal(record: RawRecord) -> str:
    with pytest.raises(ContractBroken) as caught:
        read(record)
    return caught.value.code


def test_a_frame_is_parsed() -> None:
    media = read(RawRecord())
    assert isinstance(media, Media)
    assert media.identity == RecordIdentity("call-7", 1_700_000_000, 3, 1_700_000_000.5)
    assert (media.kind, media.content_type, media.pts_s) == (Kind.FRAME, ContentType.JPEG, 0.5)
    assert media.payload == b"\xff\xd8\xff"


def test_a_unit_says_whether_it_is_a_key_frame() -> None:
    delta = read(RawRecord(headers=UNIT | {"ce_keyframe": b"0"}))
    assert isinstance(delta, Media)
    assert not delta.keyframe
    assert refusal(RawRecord(headers=UNIT | {"ce_keyframe": None})) == "missing_header"
    assert refusal(RawRecord(headers=UNIT | {"ce_keyframe": b"yes"})) == "bad_header"


@pytest.mark.parametrize(("value", "reason"), [(None, "end_of_media"), (b'{"reason": "crashed"}', "crashed")])
def test_an_end_is_parsed(value: bytes | None, reason: str) -> None:
    end = read(RawRecord(value=value, headers=EOS))
    assert isinstance(end, EndOfStream)
    assert end.reason == reason


@pytest.mark.parametrize("value", [b"[]", b"{", b"\xff", b'{"reason": 7}', b'{"reason": "<script>"}', b"[" * 10_000])
def test_an_end_needs_a_valid_reason(value: bytes) -> None:
    assert refusal(RawRecord(value=value, headers=EOS)) == "bad_value"


def test_a_reference_is_parsed_as_a_claim_check() -> None:
    digest = hashlib.sha256(b"media").hexdigest()
    headers: dict[str, bytes | None] = {"ce_dataref": b"https://store.example/a.jpg", "ce_sha256": digest.encode()}
    check = read(RawRecord(value=None, headers=headers))
    assert isinstance(check, ClaimCheck)
    assert check.redeem(b"media").payload == b"media"
    for wrong, code in ((b"other", "wrong_digest"), (b"", "no_payload")):
        with pytest.raises(ContractBroken) as caught:
            check.redeem(wrong)
        assert caught.value.code == code


@pytest.mark.parametrize("name", sorted(FRAME))
def test_every_header_of_a_frame_is_required(name: str) -> None:
    assert refusal(RawRecord(headers={name: None})) == "missing_header"


@pytest.mark.parametrize(("code", "record"), [
    ("wrong_version", RawRecord(headers={"ce_specversion": b"0.3"})),
    ("unknown_type", RawRecord(headers={"ce_type": b"org.example.frame"})),
    ("unknown_type", RawRecord(headers={"ce_type": b"frame"})),
    ("unsupported_media", RawRecord(headers={"content-type": b"image/gif"})),
    ("unsupported_media", RawRecord(headers={"content-type": b"video/h264"})),
    ("unsupported_media", RawRecord(headers=UNIT | {"content-type": b"video/mpeg2"})),
    ("bad_header", RawRecord(headers=UNIT | {"ce_rotation": b"45"})),
    ("bad_header", RawRecord(headers=UNIT | {"ce_mirrored": b"yes"})),
    ("bad_header", RawRecord(headers=UNIT | {"ce_sampleaspect": b"16:9"})),
    ("bad_header", RawRecord(headers=UNIT | {"ce_sampleaspect": b"900"})),
    ("wrong_key", RawRecord(key=None)),
    ("wrong_key", RawRecord(key=b"../secrets")),
    ("wrong_key", RawRecord(key=b"\xff\xfe")),
    ("wrong_key", RawRecord(key=b"call-8")),
    ("wrong_id", RawRecord(headers={"ce_id": b"call-7/1/1"})),
    ("no_payload", RawRecord(value=None)),
    ("no_payload", RawRecord(value=b"")),
    ("bad_header", RawRecord(headers={"ce_sequence": b"-1"})),
    ("bad_header", RawRecord(headers={"ce_sequence": b"9" * 40})),
    ("bad_header", RawRecord(headers={"ce_sequence": "٣".encode()})),
    ("bad_header", RawRecord(headers={"ce_source": b"two words"})),
    ("bad_header", RawRecord(headers={"ce_time": b"yesterday"})),
    ("bad_header", RawRecord(headers={"ce_time": b"2023-11-14T22:13:20"})),
    ("bad_header", RawRecord(headers={"ce_pts": b"9007199254740991"})),
    ("bad_header", RawRecord(headers={"ce_timebase": b"1/0"})),
    ("bad_header", RawRecord(headers={"ce_timebase": b"\xff"})),
    ("bad_header", RawRecord(headers={"ce_sha256": b"abc"})),
    ("wrong_digest", RawRecord(headers={"ce_sha256": b"0" * 64})),
    ("bad_reference", RawRecord(headers={"ce_dataref": b"https://store.example/a"})),
    ("bad_reference", RawRecord(value=None, headers={"ce_dataref": b"/etc/passwd"})),
    ("bad_reference", RawRecord(value=None, headers={"ce_dataref": b"https://user:secret@store.example/a"})),
    ("bad_reference", RawRecord(value=None, headers={"ce_dataref": b"http://[::1/a"})),
    ("bad_reference", RawRecord(value=None, headers={"ce_dataref": b"http://a/b\r\nHost: c"})),
])
def test_invalid_records_are_refused_with_a_code(code: str, record: RawRecord) -> None:
    assert refusal(record) == code


def test_a_repeated_header_is_refused() -> None:
    record = RawRecord()
    with pytest.raises(ContractBroken, match="twice"):
        parse(record.key, record.value, (*record.all_headers, ("ce_pts", b"1")))


def test_a_padded_id_and_media_type_parameters_are_accepted() -> None:
    headers: dict[str, bytes | None] = {
        "ce_id": b"call-7/1700000000/000000000003", "content-type": b"Image/JPEG; q=1"
    }
    assert isinstance(read(RawRecord(headers=headers)), Media)


numbers = st.integers(0, MAX_NUMBER)
stamps = st.builds(
    RecordIdentity, st.from_regex(STREAM_ID, fullmatch=True), numbers, numbers,
    st.integers(0, 4 * 10**9).map(float),
)
media = st.builds(
    Media, stamps, st.sampled_from([c for c, kind in KIND_OF.items() if kind is Kind.UNIT]), st.integers(0, 10**9),
    st.fractions(Fraction(1, 10**6), Fraction(1, 30), max_denominator=10**6), st.binary(min_size=1), st.booleans(),
) | st.builds(
    Media, stamps, st.sampled_from([c for c, kind in KIND_OF.items() if kind in (Kind.FRAME, Kind.SEGMENT)]),
    st.integers(0, 10**9), st.just(Fraction(1, 1000)), st.binary(min_size=1),
)
checks = st.builds(
    lambda item, uri, digest: ClaimCheck(Media(item.identity, item.content_type, 1, Fraction(1, 9), b""), uri, digest),
    media.filter(lambda item: item.kind is not Kind.UNIT), st.just("s3://bucket/key"),
    st.none() | st.just("0123456789abcdef" * 4),
)
ends = st.builds(EndOfStream, stamps, st.from_regex(r"[a-z_]{1,64}", fullmatch=True))


@given(media | checks | ends)
def test_encoded_items_are_parsed_back(item: Item) -> None:
    assert parse(*encode(item)) == item


def test_encode_refuses_what_parse_refuses() -> None:
    identity = RecordIdentity("call", 1, 1, 0.0)
    for wrong in (
        Media(identity, ContentType.JPEG, 0, Fraction(1), b""),
        Media(identity, ContentType.JPEG, -1, Fraction(1), b"x"),
        Media(RecordIdentity("a/b", 1, 1, 0.0), ContentType.JPEG, 0, Fraction(1), b"x"),
        Media(RecordIdentity("call", 1, 1, 1e20), ContentType.JPEG, 0, Fraction(1), b"x"),
        ClaimCheck(Media(identity, ContentType.JPEG, 0, Fraction(1), b""), "nowhere"),
        EndOfStream(identity, "Because!"),
    ):
        with pytest.raises(ContractBroken):
            encode(wrong)


names = st.sampled_from([*FRAME, "ce_keyframe", "ce_dataref", "ce_sha256"]) | st.text()
values = st.none() | st.binary() | st.text().map(str.encode) | st.sampled_from([v for v in FRAME.values() if v])


@given(st.none() | st.binary(), st.none() | st.binary(), st.lists(st.tuples(names, values)))
def test_hostile_records_only_raise_contract_broken(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    with suppress(ContractBroken):
        parse(key, value, tuple(headers))


@given(st.dictionaries(names, values), st.none() | st.binary())
def test_one_hostile_header_among_good_ones(headers: dict[str, bytes | None], value: bytes | None) -> None:
    for base in ({}, UNIT, EOS):
        with suppress(ContractBroken):
            read(RawRecord(value=value, headers=base | headers))


def test_the_page_documents_every_header_type_and_code() -> None:
    source = "".join(Path(module.__file__ or "").read_text() for module in (media_contract, record_headers))
    codes = set(re.findall(r'ContractBroken\("([a-z_]+)"', source)) | {"wrong_version"}
    headers = {*FRAME, "ce_keyframe", "ce_dataref", "ce_sha256", "ce_rotation", "ce_mirrored", "ce_sampleaspect"}
    documented = set(re.findall(r"^\| `([^`]+)`", PAGE, re.M))
    assert {f"org.deepguard.media.{kind}" for kind in Kind} <= documented
    assert {content_type.value for content_type in ContentType} <= documented
    assert headers == {name for name in documented if name.startswith(("ce_", "content-type"))}
    assert codes <= documented
    assert f"{MAX_HEADER_BYTES} bytes" in PAGE
    assert STREAM_ID in PAGE
