"""RTSP 1.0 messages (RFC 2326): answers, authentication, and the video of a description. No I/O."""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64decode, b64encode
from typing import NamedTuple
from urllib.parse import urlsplit

from api.ingest.pull.errors import PullFailed
from stream.codecs import BY_RTP_NAME, RTP_TITLES
from stream.types import Codec

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]*))', re.ASCII)
_START_CODE = b"\x00\x00\x00\x01"


class RtspResponse(NamedTuple):
    """`headers` by lower-case name, the first of each; `challenges` are all of `WWW-Authenticate`."""

    status: int
    headers: dict[str, str]
    challenges: tuple[str, ...] = ()
    body: bytes = b""

    @property
    def length(self) -> int:
        """The length of the body in bytes. Raises PullFailed."""
        text = self.headers.get("content-length", "0")
        if not text.isdecimal() or int(text) > MAX_BODY_BYTES:
            raise PullFailed("protocol_error", f"the source announces a body of more than {MAX_BODY_BYTES} bytes")
        return int(text)


def read_head(head: bytes) -> RtspResponse:
    """Parses status line and headers; a request from the server has status 0. Raises PullFailed (protocol_error)."""
    lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"RTSP/1\.\d (\d{3})(?: .*)?|[A-Z_]+ \S+ RTSP/1\.\d", lines[0], re.ASCII)
    if match is None:
        raise PullFailed("protocol_error", "the source does not speak RTSP")
    headers: dict[str, str] = {}
    challenges = []
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
        if name.strip().lower() == "www-authenticate":
            challenges.append(value.strip())
    return RtspResponse(int(match[1] or 0), headers, tuple(challenges))


class RtspLogin(NamedTuple):
    """A user, with the challenge of the source."""

    user: str
    password: str
    challenge: str

    def header(self, method: str, url: str) -> str:
        """Returns the value of `Authorization`, for Basic, or for Digest with MD5 or SHA-256 (RFC 7616)."""
        if self.challenge.lower().startswith("basic"):
            return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()
        asked = {found[1].lower(): found[2] or found[3] or "" for found in _PARAMETER.finditer(self.challenge)}
        algorithm = asked.get("algorithm", "MD5")

        def digest(text: str) -> str:
            name = "sha256" if algorithm.upper() == "SHA-256" else "md5"
            return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()

        realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
        owner, request = digest(f"{self.user}:{realm}:{self.password}"), digest(f"{method}:{url}")
        fields = {"username": self.user, "realm": realm, "nonce": nonce, "uri": url}
        extra = f", algorithm={algorithm}" if "algorithm" in asked else ""
        if "auth" in asked.get("qop", "").split(","):
            ours = secrets.token_hex(8)
            response = digest(f"{owner}:{nonce}:00000001:{ours}:auth:{request}")
            extra += f', qop=auth, nc=00000001, cnonce="{ours}"'
        else:
            response = digest(f"{owner}:{nonce}:{request}")
        quoted = ", ".join(f'{name}="{value}"' for name, value in {**fields, "response": response}.items())
        return f"Digest {quoted}{extra}"


def best_challenge(challenges: tuple[str, ...]) -> str | None:
    """Prefers Digest to Basic; returns None if the source supports neither."""
    for scheme in ("digest", "basic"):
        for challenge in challenges:
            if challenge.lower().startswith(scheme):
                return challenge
    return None


class OfferedVideo(NamedTuple):
    """The video of a description. `control` is its URL; `parameter_sets` are those of H.264 as Annex-B."""

    codec: Codec
    payload_type: int
    control: str
    session_control: str
    parameter_sets: bytes = b""


def offered_video(sdp: str, base: str) -> OfferedVideo:
    """Returns the first supported video. Raises PullFailed (no_video, unsupported_codec)."""
    session, *sections = re.split(r"^(?=m=)", sdp, flags=re.MULTILINE)
    session_control = _join(base, _attribute(session, "control"))
    videos = [section for section in sections if section.startswith("m=video ")]
    if not videos:
        raise PullFailed("no_video", "the source has no video", is_final=True)
    for section in videos:
        for found in re.finditer(r"^a=rtpmap:(\d{1,3}) (\w+)/90000", section, re.MULTILINE | re.ASCII):
            row = BY_RTP_NAME.get(found[2].upper())
            if row is not None:
                control = _join(base, _attribute(section, "control"))
                return OfferedVideo(
                    row.codec, int(found[1]), control, session_control, _parameter_sets(section, found[1])
                )
    raise PullFailed("unsupported_codec", f"{RTP_TITLES} are received by RTSP; the source has neither", is_final=True)


def _attribute(section: str, name: str) -> str:
    found = re.search(rf"^a={name}:(\S+)", section, re.MULTILINE)
    return found[1] if found else "*"


def _join(base: str, control: str) -> str:
    if control == "*":
        return base
    if urlsplit(control).scheme in ("rtsp", "rtsps"):
        return control
    return f"{base.rstrip('/')}/{control.lstrip('/')}"


def _parameter_sets(section: str, payload_type: str) -> bytes:
    found = re.search(rf"^a=fmtp:{payload_type} .*sprop-parameter-sets=([^;\s]+)", section, re.MULTILINE)
    try:
        parts = [b64decode(part) for part in found[1].split(",") if part] if found else []
    except ValueError:      # not Base64
        return b""
    return b"".join(_START_CODE + part for part in parts)
