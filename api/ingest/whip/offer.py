"""WHIP offers: strict parsing of SDP, and a minimal offer written anew from it. Text in, text out; no I/O.

The new offer has the usable codecs in the publisher's order, only the attributes that the negotiation needs, and no
candidates, so that an offer cannot make this machine send packets to addresses of its choice. (Where the operator
enables remote candidates, `api.ingest.ice_candidates` selects the usable ones.) The publisher's own text reaches no
other parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from api.errors import OfferRefused
from api.ingest.ice_candidates import MAX_CANDIDATES, RemoteCandidate, read_candidate
from stream.codecs import BY_RTP_NAME
from stream.types import Codec

MAX_OFFER_BYTES = 64 * 1024
_MAX_LINES = 2000
_MAX_MEDIA = 8
_PROFILES = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF"})
_AUDIO = {"OPUS": "opus/48000/2", "G722": "G722/8000", "PCMU": "PCMU/8000", "PCMA": "PCMA/8000"}
_EXTENSIONS = frozenset({
    "urn:3gpp:video-orientation", "urn:ietf:params:rtp-hdrext:sdes:mid", "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
})
_FEEDBACK = ("nack", "nack pli", "goog-remb")
_HASH_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_H264_FOR_AIORTC = "packetization-mode=1;profile-level-id=42e01f"

_LINE = re.compile(r"[a-z]=[^\x00-\x08\x0a-\x1f\x7f]*")
_MEDIA = re.compile(r"([a-z]+) (\d{1,5}) ([A-Za-z/]+) ([A-Za-z0-9 -]+)", re.ASCII)
_MID = re.compile(r"[A-Za-z0-9._~+-]{1,32}")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_RTPMAP = re.compile(r"(\d{1,3}) ([A-Za-z0-9.-]{1,32})/(\d{1,6})(?:/\d{1,2})?", re.ASCII)
_NUMBERED = re.compile(r"(\d{1,3}|\*) (.+)", re.ASCII)
_EXTMAP = re.compile(r"(\d{1,2})(?:/[a-z]+)? (\S+)(?: .*)?", re.ASCII)
_SSRC = re.compile(r"(\d{1,10}) .*", re.ASCII)
_FID = re.compile(r"FID (\d{1,10}) (\d{1,10})", re.ASCII)
_H264_PROFILE = re.compile(r"(?:42|4d|58|64)[0-9a-f]{4}", re.IGNORECASE)    # 8 bit 4:2:0


class IceSession(NamedTuple):
    """The publisher's credentials of one ICE session, and the ids of its media sections."""

    ufrag: str
    password: str
    mids: tuple[str, ...]


class VideoFormat(NamedTuple):
    """One usable payload type; `fmtp` are the format parameters that the answer must repeat."""

    payload_type: int
    codec: Codec
    fmtp: str


class PreparedOffer(NamedTuple):
    """`sdp` is the offer to negotiate, with `formats` in the publisher's order of preference, at least one.

    The answer keeps them all, because some publishers send another one than their first.
    """

    sdp: str
    formats: tuple[VideoFormat, ...]
    ice: IceSession


@dataclass
class _Section:
    """One m-line with its attributes, or the part before the first m-line (`kind` is empty)."""

    kind: str = ""
    port: int = 9
    formats: tuple[int, ...] = ()
    attributes: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.attributes)

    def one(self, name: str) -> str | None:
        """Returns the attribute's value, None if absent. Raises OfferRefused if it appears twice."""
        values = self.all(name)
        if len(values) > 1:
            raise malformed(f"a={name} appears {len(values)} times in one section")
        return values[0] if values else None


class _Format(NamedTuple):
    """One payload type of a supported codec, and that of its retransmissions if it has one."""

    payload_type: int
    name: str
    fmtp: str
    rtx: int | None


class _Formats(NamedTuple):
    """The payload types of one section, and the lines that describe them."""

    payload_types: list[int]
    lines: list[str]


def malformed(message: str) -> OfferRefused:
    return OfferRefused(400, "sdp_malformed", message)


def unacceptable(message: str) -> OfferRefused:
    return OfferRefused(422, "offer_unacceptable", message)


def prepare_offer(text: str) -> PreparedOffer:
    """Raises OfferRefused: 400 if this is not SDP, 422 if it is not one camera in a supported format."""
    session, media = _read(text)
    video = _the_one(media, "video")
    if video is None:
        raise unacceptable("the offer has no video")
    _the_one(media, "audio")
    others = sorted({section.kind for section in media} - {"video", "audio"})
    if others:
        raise unacceptable(f"only video and audio can be received, not {', '.join(others)}")
    mids = _bundled_mids(session, media)
    usable = _usable_video(video)
    head = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(mids)}"]
    sections = []
    for section, mid in zip(media, mids, strict=True):
        formats = _video_lines(section, usable) if section is video else _audio_lines(section)
        sections.append(_transport_lines(session, section, mid, formats))
    _check_bundle(sections)
    lines = head + [line for section_lines in sections for line in section_lines]
    ufrag, password = (sections[0][at].partition(":")[2] for at in (3, 4))
    ice = IceSession(ufrag, password, tuple(mids))
    kept = tuple(VideoFormat(each.payload_type, BY_RTP_NAME[each.name].codec, each.fmtp) for each in usable)
    return PreparedOffer("\r\n".join(lines) + "\r\n", kept, ice)


def offered_candidates(text: str) -> tuple[RemoteCandidate, ...]:
    """Returns an offer's well-formed candidates, each once, up to `MAX_CANDIDATES`."""
    _, media = _read(text)
    read = (read_candidate(value) for section in media for value in section.all("candidate"))
    return tuple(dict.fromkeys(candidate for candidate in read if candidate is not None))[:MAX_CANDIDATES]


def _read(text: str) -> tuple[_Section, list[_Section]]:
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line]
    if not lines or lines[0] != "v=0":
        raise malformed("an offer starts with v=0")
    session = _Section()
    media: list[_Section] = []
    for number, line in enumerate(lines, 1):
        if number > _MAX_LINES:
            raise malformed(f"{len(lines)} lines; an offer has at most {_MAX_LINES}")
        if not _LINE.fullmatch(line):
            raise malformed(f"line {number} is not of the form <letter>=<text>")
        if line.startswith("m="):
            media.append(_read_media(line[2:], number))
            if len(media) > _MAX_MEDIA:
                raise unacceptable(f"more than {_MAX_MEDIA} media sections; one video and one audio can be received")
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            (media[-1] if media else session).attributes.append((name, value.strip()))
    if not any(line.startswith("o=") for line in lines):
        raise malformed("there is no o= line")
    return session, media


def _read_media(value: str, number: int) -> _Section:
    match = _MEDIA.fullmatch(value)
    if match is None or int(match[2]) > 65535:
        raise malformed(f"line {number} is not a media description")
    kind, port, profile, formats = match[1], int(match[2]), match[3], match[4].split()
    if kind not in ("audio", "video"):
        return _Section(kind, port)
    if profile not in _PROFILES:
        raise unacceptable(f"{kind} has the profile {profile}; WebRTC media is UDP/TLS/RTP/SAVPF")
    if not all(token.isascii() and token.isdecimal() and len(token) < 4 and int(token) < 128 for token in formats):
        raise malformed(f"line {number} has a payload type that is not a number up to 127")
    return _Section(kind, port, tuple(int(token) for token in formats))


def _the_one(media: list[_Section], kind: str) -> _Section | None:
    found = [section for section in media if section.kind == kind]
    if len(found) > 1:
        raise unacceptable(f"{len(found)} {kind} sections; one can be received")
    return found[0] if found else None


def _bundled_mids(session: _Section, media: list[_Section]) -> list[str]:
    mids = [section.one("mid") for section in media]
    if any(mid is None for mid in mids):
        raise unacceptable("every media section needs a=mid")
    named = [mid or "" for mid in mids]
    if not all(_MID.fullmatch(mid) for mid in named) or len(set(named)) < len(named):
        raise malformed("a=mid must be unique tokens of at most 32 letters")
    groups = [value.split()[1:] for value in session.all("group") if value.split()[:1] == ["BUNDLE"]]
    if len(media) > 1 and not any(set(named) <= set(group) for group in groups):
        raise unacceptable("audio and video must be bundled (a=group:BUNDLE)")
    return named


def _transport_lines(session: _Section, section: _Section, mid: str, formats: _Formats) -> list[str]:
    """Writes the section anew. ICE credentials are its fourth and fifth line."""
    if section.port == 0 and not section.has("bundle-only"):
        raise unacceptable(f"the {section.kind} section is switched off (port 0)")
    if not section.has("rtcp-mux"):
        raise unacceptable("a=rtcp-mux is needed")
    return [
        f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, formats.payload_types))}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{mid}",
        f"a=ice-ufrag:{_credential(session, section, 'ice-ufrag', _UFRAG)}",
        f"a=ice-pwd:{_credential(session, section, 'ice-pwd', _PASSWORD)}",
        f"a=setup:{_setup(session, section)}",
        *(f"a=fingerprint:{value}" for value in _fingerprints(session, section)),
        f"a={_direction(session, section)}",
        "a=rtcp-mux",
        *_extensions(section),
        *formats.lines,
    ]


def _check_bundle(sections: list[list[str]]) -> None:
    """Checks that bundled sections share ICE credentials and no payload types."""
    if len({tuple(lines[3:5]) for lines in sections}) > 1:
        raise unacceptable("bundled media must share their ICE credentials")
    payload_types = [token for lines in sections for token in lines[0].split()[3:]]
    if len(set(payload_types)) < len(payload_types):
        raise unacceptable("bundled media must not share payload types")


def _credential(session: _Section, section: _Section, name: str, pattern: re.Pattern[str]) -> str:
    value = section.one(name) or session.one(name)
    if value is None:
        raise unacceptable(f"a={name} is missing")
    if not pattern.fullmatch(value):
        raise malformed(f"a={name} has characters or a length that ICE does not allow")
    return value


def _setup(session: _Section, section: _Section) -> str:
    value = section.one("setup") or session.one("setup")
    if value not in ("actpass", "active", "passive"):
        raise unacceptable("a=setup must be actpass, active or passive")
    return value


def _fingerprints(session: _Section, section: _Section) -> list[str]:
    """Returns fingerprints with known hashes; the publisher's certificate must match each."""
    known = []
    for value in section.all("fingerprint") or session.all("fingerprint"):
        name, _, digits = value.partition(" ")
        if name.lower() not in _HASH_BYTES:
            continue
        if not re.fullmatch(rf"(?:[0-9A-Fa-f]{{2}}:){{{_HASH_BYTES[name.lower()] - 1}}}[0-9A-Fa-f]{{2}}", digits):
            raise malformed("a=fingerprint does not have the length of its hash")
        known.append(f"{name.lower()} {digits}")
    if not known:
        raise unacceptable("a=fingerprint with sha-256, sha-384 or sha-512 is missing")
    return known[:3]


def _direction(session: _Section, section: _Section) -> str:
    names = ("sendrecv", "sendonly", "recvonly", "inactive")
    direction = next((n for s in (section, session) for n in names if s.has(n)), "sendrecv")
    if direction in ("recvonly", "inactive") and section.kind == "video":
        raise unacceptable(f"the video is {direction}; a publisher sends")
    return direction


def _extensions(section: _Section) -> list[str]:
    lines = []
    for value in section.all("extmap"):
        match = _EXTMAP.fullmatch(value)
        if match is None:
            raise malformed("a=extmap is not <number> <URI>")
        if match[2] in _EXTENSIONS and 1 <= int(match[1]) <= 14:
            lines.append(f"a=extmap:{match[1]} {match[2]}")
    return lines


def _rtp_maps(section: _Section) -> dict[int, tuple[str, int]]:
    """Payload type to codec name (upper case) and clock rate, for the types on the m-line."""
    maps: dict[int, tuple[str, int]] = {}
    for value in section.all("rtpmap"):
        match = _RTPMAP.fullmatch(value)
        if match is None:
            raise malformed("a=rtpmap is not <payload type> <codec>/<clock rate>")
        if int(match[1]) in section.formats:
            maps.setdefault(int(match[1]), (match[2].upper(), int(match[3])))
    return maps


def _parameters(section: _Section) -> dict[int, dict[str, str]]:
    """Format parameters by payload type; names in lower case."""
    found: dict[int, dict[str, str]] = {}
    for value in section.all("fmtp"):
        match = _NUMBERED.fullmatch(value)
        if match is None or match[1] == "*":
            raise malformed("a=fmtp is not <payload type> <parameters>")
        pairs = (part.partition("=") for part in match[2].split(";"))
        found.setdefault(int(match[1]), {name.strip().lower(): text.strip() for name, _, text in pairs})
    return found


def _usable_video(section: _Section) -> list[_Format]:
    """Returns the formats of supported codecs in the publisher's order, at least one. Raises OfferRefused."""
    maps, parameters = _rtp_maps(section), _parameters(section)
    found: list[_Format] = []
    for payload_type in section.formats:
        name, clock_hz = maps.get(payload_type, ("", 0))
        if not (96 <= payload_type <= 127 and clock_hz == 90_000):
            continue
        row = BY_RTP_NAME.get(name)
        fmtp = _h264_parameters(parameters.get(payload_type, {})) if row is not None and row.codec is Codec.H264 else ""
        if row is not None and (fmtp or row.codec is not Codec.H264):
            found.append(_Format(payload_type, name, fmtp, _rtx_of(payload_type, maps, parameters)))
    if found:
        return found
    names = ", ".join(sorted({name for name, _ in maps.values()} - {"RTX", "RED", "ULPFEC"})) or "nothing known"
    raise unacceptable(f"VP8 and H264 (8 bit, 4:2:0) can be judged; the offer has {names}")


def _h264_parameters(given: dict[str, str]) -> str:
    """Returns the format parameters of the answer, or "" for unsupported H.264."""
    mode = given.get("packetization-mode", "0")
    profile = given.get("profile-level-id", "42e01f")
    if mode not in ("0", "1") or not _H264_PROFILE.fullmatch(profile):
        return ""
    return f"level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile.lower()}"


def _rtx_of(payload_type: int, maps: dict[int, tuple[str, int]], parameters: dict[int, dict[str, str]]) -> int | None:
    for candidate, (name, _) in maps.items():
        if name == "RTX" and parameters.get(candidate, {}).get("apt") == str(payload_type):
            return candidate
    return None


def _video_lines(section: _Section, usable: list[_Format]) -> _Formats:
    payload_types: list[int] = []
    lines: list[str] = []
    for payload_type, name, fmtp, rtx in usable:
        payload_types.append(payload_type)
        lines.append(f"a=rtpmap:{payload_type} {name}/90000")
        if fmtp:
            lines.append(f"a=fmtp:{payload_type} {_H264_FOR_AIORTC}")
        offered = {" ".join(match[2].split()) for match in map(_NUMBERED.fullmatch, section.all("rtcp-fb"))
                   if match is not None and match[1] in ("*", str(payload_type))}
        lines += [f"a=rtcp-fb:{payload_type} {feedback}" for feedback in _FEEDBACK if feedback in offered]
        if rtx is not None:
            payload_types.append(rtx)
            lines += [f"a=rtpmap:{rtx} rtx/90000", f"a=fmtp:{rtx} apt={payload_type}"]
    return _Formats(payload_types, lines + _sources(section))


def _sources(section: _Section) -> list[str]:
    """Names the SSRCs of the video and of its retransmissions, where the offer is unambiguous."""
    pairs = [match for match in map(_FID.fullmatch, section.all("ssrc-group")) if match is not None]
    singles = [match[1] for match in map(_SSRC.fullmatch, section.all("ssrc")) if match is not None]
    numbers = [pairs[0][1], pairs[0][2]] if len(pairs) == 1 else singles[:1]
    return [f"a=ssrc:{number} cname:-" for number in numbers if int(number) < 2**32]


def _audio_lines(section: _Section) -> _Formats:
    """Picks one codec that aiortc can negotiate; the audio itself is dropped on arrival."""
    maps = {0: ("PCMU", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000)} | _rtp_maps(section)
    for payload_type in section.formats:
        name, _ = maps.get(payload_type, ("", 0))
        if name in _AUDIO and (payload_type >= 96 or payload_type in (0, 8, 9)):
            return _Formats([payload_type], [f"a=rtpmap:{payload_type} {_AUDIO[name]}"])
    raise unacceptable("the audio has no codec of WebRTC (Opus, G.711, G.722); leave it out")
