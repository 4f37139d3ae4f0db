"""Media contract: parses and encodes media records, which are CloudEvents 1.0 in binary mode. No I/O.

`docs/contracts/kafka.md` describes it for producers. Every violation is a ContractBroken with a stable code.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from consumers.errors import ContractBroken
from consumers.record_headers import HeaderFields
from stream.codecs import VIDEO_CODECS
from stream.display_transform import AS_DECODED, MAX_SAMPLE_ASPECT, DisplayTransform
from stream.identity import STREAM_ID

if TYPE_CHECKING:
    from consumers.broker import Headers

SPEC_VERSION = "1.0"
TYPE_PREFIX = "org.deepguard.media."
MAX_MEDIA_S = 10**8         # three years, an upper bound for a valid media time

_DIGITS = 12
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REASON = re.compile(r"[a-z_]{1,64}")
_SOURCE = re.compile(r"[\x21-\x7e]{1,256}")
_TIMEBASE = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_QUARTER_TURNS = {"0": 0, "90": 1, "180": 2, "270": 3}
_ASPECT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})?", re.ASCII)


class Kind(StrEnum):
    """Kind of one record: the last part of `ce_type`."""

    FRAME = "frame"
    UNIT = "unit"
    SEGMENT = "segment"
    EOS = "eos"


class ContentType(StrEnum):
    """Format of the payload; it selects the decoder."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    H264 = "video/h264"         # one access unit, Annex-B
    VP8 = "video/vp8"           # one frame
    HEVC = "video/h265"         # one access unit, Annex-B
    VP9 = "video/vp9"           # one superframe
    AV1 = "video/av1"           # one temporal unit, with its sequence header at key frames
    MP4 = "video/mp4"           # fragmented, with its own initialization segment
    MPEGTS = "video/mp2t"
    WEBM = "video/webm"
    JSON = "application/json"   # an end of stream


KIND_OF: dict[ContentType, Kind] = {
    ContentType.JPEG: Kind.FRAME,
    ContentType.PNG: Kind.FRAME,
    **{ContentType(row.content_type): Kind.UNIT for row in VIDEO_CODECS},
    ContentType.MP4: Kind.SEGMENT,
    ContentType.MPEGTS: Kind.SEGMENT,
    ContentType.WEBM: Kind.SEGMENT,
    ContentType.JSON: Kind.EOS,
}


class RecordIdentity(NamedTuple):
    """Stream, epoch, sequence number and capture time of a record.

    `epoch` grows with every start of the producer; `sequence` is contiguous per epoch; `capture_s` is Unix time.
    """

    stream: str
    epoch: int
    sequence: int
    capture_s: float

    @property
    def id(self) -> str:
        return f"{self.stream}/{self.epoch}/{self.sequence}"


@dataclass(frozen=True, slots=True)
class Media:
    """One frame, access unit or segment. Its media time is `pts` x `timebase` seconds since the start of the epoch.

    `display` is the display transform of an access unit; segments carry their own.
    """

    identity: RecordIdentity
    content_type: ContentType
    pts: int
    timebase: Fraction
    payload: bytes
    keyframe: bool = True
    display: DisplayTransform = AS_DECODED

    @property
    def kind(self) -> Kind:
        return KIND_OF[self.content_type]

    @property
    def pts_s(self) -> float:
        return float(self.pts * self.timebase)

    def __repr__(self) -> str:
        return f"Media({self.identity.id}, {self.content_type}, {len(self.payload)} bytes)"


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """Media with its payload in an object store: `media` has an empty payload, `uri` locates it."""

    media: Media
    uri: str
    sha256: str | None = None

    @property
    def identity(self) -> RecordIdentity:
        return self.media.identity

    def redeem(self, payload: bytes) -> Media:
        """Returns the media with the fetched payload. Raises ContractBroken (no_payload, wrong_digest)."""
        if not payload:
            raise ContractBroken("no_payload", "the referenced object is empty")
        _check_digest(payload, self.sha256)
        return replace(self.media, payload=payload)


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The last record of an epoch."""

    identity: RecordIdentity
    reason: str = "end_of_media"


Item = Media | ClaimCheck | EndOfStream


class Encoded(NamedTuple):
    """Key, value and headers of a record."""

    key: bytes
    value: bytes | None
    headers: Headers


def parse(key: bytes | None, value: bytes | None, headers: Headers) -> Item:
    """Parses a record. Raises ContractBroken, and no other error, for any invalid content."""
    fields = HeaderFields(headers)
    fields.must_equal("ce_specversion", SPEC_VERSION, "wrong_version")
    kind = _kind(fields.text("ce_type"))
    identity = _identity(key, fields)
    content_type = _content_type(fields.text("content-type"), kind)
    if kind is Kind.EOS:
        return EndOfStream(identity, _reason(value))
    media = Media(
        identity=identity,
        content_type=content_type,
        pts=fields.number("ce_pts"),
        timebase=fields.parsed("ce_timebase", _timebase),
        payload=value or b"",
        keyframe=kind is not Kind.UNIT or fields.parsed("ce_keyframe", _flag),
        display=_display(fields) if kind is Kind.UNIT else AS_DECODED,
    )
    if media.pts * media.timebase > MAX_MEDIA_S:
        raise ContractBroken("bad_header", f"ce_pts: expected at most {MAX_MEDIA_S} seconds")
    return _with_payload(media, fields)


def encode(item: Item, source: str = "/ingest/deepguard") -> Encoded:
    """Encodes an item as a record that `parse` accepts; `source` names the producer. Raises ContractBroken."""
    headers = [(name, value.encode()) for name, value in _headers_of(item, source)]
    value: bytes | None
    match item:
        case EndOfStream():
            value = json.dumps({"reason": item.reason}).encode()
        case ClaimCheck():
            value = None
        case Media():
            value = item.payload
    encoded = Encoded(item.identity.stream.encode(), value, tuple(headers))
    if value != b"":
        parse(*encoded)
        return encoded
    raise ContractBroken("no_payload", "the payload is empty")


def _headers_of(item: Item, source: str) -> list[tuple[str, str]]:
    identity = item.identity
    media = item.media if isinstance(item, ClaimCheck) else item
    kind = Kind.EOS if isinstance(media, EndOfStream) else media.kind
    headers = [
        ("ce_specversion", SPEC_VERSION),
        ("ce_type", TYPE_PREFIX + kind),
        ("ce_source", source),
        ("ce_id", identity.id),
        ("ce_time", _rfc3339(identity.capture_s)),
        ("ce_partitionkey", identity.stream),
        ("ce_streamepoch", str(identity.epoch)),
        ("ce_sequence", f"{identity.sequence:0{_DIGITS}d}"),
    ]
    if isinstance(media, EndOfStream):
        return [*headers, ("content-type", ContentType.JSON)]
    headers += [
        ("content-type", media.content_type),
        ("ce_pts", str(media.pts)),
        ("ce_timebase", f"{media.timebase.numerator}/{media.timebase.denominator}"),
    ]
    if kind is Kind.UNIT:
        headers.append(("ce_keyframe", str(int(media.keyframe))))
        headers += _display_headers(media.display)
    if isinstance(item, ClaimCheck):
        headers.append(("ce_dataref", item.uri))
        headers += [("ce_sha256", item.sha256)] if item.sha256 else []
    return headers


def _kind(name: str) -> Kind:
    try:
        return Kind(name.removeprefix(TYPE_PREFIX) if name.startswith(TYPE_PREFIX) else "")
    except ValueError as error:
        raise ContractBroken("unknown_type", f"ce_type: {name[:64]!r} is not a known type") from error


def _content_type(text: str, kind: Kind) -> ContentType:
    try:
        found = ContentType(text.split(";", 1)[0].strip().lower())
    except ValueError as error:
        raise ContractBroken("unsupported_media", f"content-type: {text[:64]!r} is not supported") from error
    if KIND_OF[found] is not kind:
        raise ContractBroken("unsupported_media", f"content-type: {found} does not belong to a {kind}")
    return found


def _identity(key: bytes | None, fields: HeaderFields) -> RecordIdentity:
    stream = _stream(key)
    fields.must_equal("ce_partitionkey", stream, "wrong_key")
    epoch, sequence = fields.number("ce_streamepoch"), fields.number("ce_sequence")
    capture_s = fields.parsed("ce_time", _unix_s)
    fields.parsed("ce_source", _SOURCE.fullmatch)
    identity = RecordIdentity(stream, epoch, sequence, capture_s)
    as_written = f"{stream}/{fields.text('ce_streamepoch')}/{fields.text('ce_sequence')}"
    if fields.text("ce_id") not in (identity.id, as_written):
        raise ContractBroken("wrong_id", f"ce_id: expected {identity.id!r}")
    return identity


def _stream(key: bytes | None) -> str:
    stream = (key or b"").decode(errors="replace")
    if not re.fullmatch(STREAM_ID, stream):
        raise ContractBroken("wrong_key", f"the key is not a stream id ({STREAM_ID})")
    return stream


def _display(fields: HeaderFields) -> DisplayTransform:
    """Reads the display transform of a unit from its optional headers."""
    turns = fields.optional_parsed("ce_rotation", _QUARTER_TURNS.get)
    mirrored = fields.optional_parsed("ce_mirrored", _flag)
    aspect = fields.optional_parsed("ce_sampleaspect", _aspect)
    return DisplayTransform(turns or 0, mirrored or False, aspect or 0.0)


def _display_headers(display: DisplayTransform) -> list[tuple[str, str]]:
    headers = []
    if display.quarter_turns:
        headers.append(("ce_rotation", str(90 * display.quarter_turns)))
    if display.is_mirrored:
        headers.append(("ce_mirrored", "1"))
    if display.sample_aspect:
        headers.append(("ce_sampleaspect", f"{display.sample_aspect:.6g}"))
    return headers


def _aspect(text: str) -> float | None:
    value = float(text) if _ASPECT.fullmatch(text) else 0.0
    return value if 1 / MAX_SAMPLE_ASPECT <= value <= MAX_SAMPLE_ASPECT else None


def _with_payload(media: Media, fields: HeaderFields) -> Media | ClaimCheck:
    uri, digest = fields.optional("ce_dataref"), fields.optional("ce_sha256")
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise ContractBroken("bad_header", "ce_sha256: expected 64 hexadecimal digits in lower case")
    if media.payload and uri is not None:
        raise ContractBroken("bad_reference", "a record has a value or ce_dataref, not both")
    if media.payload:
        _check_digest(media.payload, digest)
        return media
    if uri is None:
        raise ContractBroken("no_payload", "a record needs a value or ce_dataref")
    _check_uri(uri)
    return ClaimCheck(media, uri, digest)


def _check_uri(uri: str) -> None:
    """Checks that a reference is an absolute URI without a login. The fetcher checks the allow-list."""
    try:
        parts = urlsplit(uri)
        is_plain = bool(parts.scheme and parts.hostname and uri.isascii() and uri.isprintable() and " " not in uri)
        has_login = parts.username is not None or parts.password is not None
    except ValueError:
        is_plain, has_login = False, False
    if not is_plain:
        raise ContractBroken("bad_reference", "ce_dataref is not an absolute URI")
    if has_login:
        raise ContractBroken("bad_reference", "ce_dataref carries credentials")


def _check_digest(payload: bytes, digest: str | None) -> None:
    if digest is not None and not hmac.compare_digest(hashlib.sha256(payload).hexdigest(), digest):
        raise ContractBroken("wrong_digest", "the payload does not match ce_sha256")


def _reason(value: bytes | None) -> str:
    try:
        body = json.loads(value or b"{}")
        reason = body.get("reason", "end_of_media")
        if isinstance(reason, str) and _REASON.fullmatch(reason):
            return reason
    except (ValueError, AttributeError, RecursionError):
        pass
    raise ContractBroken("bad_value", "the value of an end of stream must be a JSON object with a reason (a-z and _)")


def _flag(text: str) -> bool | None:
    return {"0": False, "1": True}.get(text)


def _timebase(text: str) -> Fraction | None:
    found = _TIMEBASE.fullmatch(text)
    if found is None or not int(found[1]) or not int(found[2]):
        return None
    return Fraction(int(found[1]), int(found[2]))


def _unix_s(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _rfc3339(unix_s: float) -> str:
    try:
        return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError) as error:
        raise ContractBroken("bad_header", "ce_time: the capture time is out of range") from error
