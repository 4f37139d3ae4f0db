"""RTP and RTCP that no honest sender sends: made by hand, and real packets that were damaged."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VP8, RTX = 97, 98       # payload types of the publisher in tests.api.publisher


def rtp(payload: bytes = b"\x10\x00", *, first: int = 0x80, kind: int = VP8, sequence: int = 7, ssrc: int = 1) -> bytes:
    return struct.pack("!BBHII", first, kind, sequence, 90_000, ssrc) + payload


def rtcp(kind: int, body: bytes, *, count: int = 0, words: int | None = None, first: int = 0x80) -> bytes:
    """`words` None is the true length."""
    length = len(body) // 4 if words is None else words
    return struct.pack("!BBH", first | count, kind, length) + body


def bad_rtp() -> dict[str, bytes]:
    """Packets by what is wrong with them."""
    cases = {
        "empty": b"", "one byte": b"\x80", "half a header": rtp()[:6], "a header and no payload": rtp(b""),
        "version 0": rtp(first=0x00), "version 1": rtp(first=0x40), "version 3": rtp(first=0xC0),
        "CSRCs that are not there": rtp(first=0x8F), "an extension that is not there": rtp(b"", first=0x90),
        "an extension beyond the end": rtp(b"\xbe\xde\xff\xff" + b"\0" * 8, first=0x90),
        "an extension of another kind": rtp(b"\x10\x00\x00\x01\xff\xff\xff\xff", first=0x90),
        "one-byte elements beyond the extension": rtp(b"\xbe\xde\x00\x01\x1f\xff\xff\xff\x10", first=0x90),
        "element 15": rtp(b"\xbe\xde\x00\x01\xf0\x00\x00\x00\x10", first=0x90),
        "padding alone": rtp(b"\x01", first=0xA0), "padding of 0": rtp(b"\x10\x00\x00", first=0xA0),
        "padding beyond the start": rtp(b"\x10\xff", first=0xA0), "padding of an empty payload": rtp(b"", first=0xA0),
        "an unknown payload type": rtp(kind=5), "payload type 127": rtp(kind=127),
        "a marker and payload type 0": rtp(kind=0x80),
        "a retransmission of nothing": rtp(b"", kind=RTX), "a retransmission of a byte": rtp(b"\0", kind=RTX),
        "a retransmission of an unknown source": rtp(b"\0\1\x10\0", kind=RTX, ssrc=0xFFFFFFFF),
        "only zeros": bytes(200), "only ones": b"\xff" * 200, "the longest datagram": rtp(b"\x10" + b"x" * 65_000),
    }
    for size in range(1, 7):        # VP8 payload descriptors (RFC 7741 4.2) that promise more than there is
        for start in (0x80, 0x90, 0xFF):
            cases[f"a descriptor {start:x} of {size} bytes"] = rtp((bytes([start]) + b"\xff" * 6)[:size])
    for jump in (1, 99, 101, 127, 129, 512, 1024, 32_767, 32_768, 65_535):
        cases[f"a jump by {jump}"] = rtp(sequence=(7 + jump) & 0xFFFF)
    return cases


def bad_rtcp() -> dict[str, bytes]:
    """Packets by what is wrong with them."""
    cases = {
        "empty": b"", "two bytes": b"\x80\xc8", "a header": rtcp(200, b""),
        "version 1": rtcp(201, b"\0" * 4, first=0x40), "padding of nothing": rtcp(201, b"", first=0xA0),
        "padding beyond the start": rtcp(201, b"\0\0\0\xff", first=0xA0),
        "padding of 0": rtcp(201, b"\0\0\0\0", first=0xA0), "a BYE of nobody": rtcp(203, b""),
        "a BYE of others": rtcp(203, b"\0\0\0\1\0\0\0\2", count=2),
        "a BYE with an endless reason": rtcp(203, b"\0\0\0\1\xff\0\0\0", count=1),
        "a BYE of 31 that are not there": rtcp(203, b"\0\0\0\1", count=31),
        "an SDES without an end": rtcp(202, b"\0\0\0\1\1\xff\0\0", count=1),
        "an SDES of 31 that are not there": rtcp(202, b"", count=31), "an APP": rtcp(204, b"\0\0\0\1NAME"),
        "an extended report": rtcp(207, b"\0\0\0\1\4\0\0\2" + b"\xff" * 8), "an unknown kind": rtcp(199, b"\0" * 4),
        "REMB that is cut": rtcp(206, b"\0" * 8 + b"REMB\xff", count=15, words=3),
        "REMB of 255 sources": rtcp(206, b"\0" * 8 + b"REMB\xff\xff\xff\xff", count=15),
        "a REMB of another name": rtcp(206, b"\0" * 8 + b"BMER\1\0\0\0", count=15),
        "a FIR without entries": rtcp(206, b"\0" * 8, count=4), "a PLI for us": rtcp(206, b"\0" * 8, count=1),
        "an SLI": rtcp(206, b"\0" * 12, count=2),
        "a NACK of everything": rtcp(205, b"\0" * 8 + b"\xff" * 4 * 300, count=1),
        "transport-wide feedback": rtcp(205, b"\0" * 8 + b"\xff" * 12, count=15),
        "two packets, the second cut": rtcp(201, b"\0" * 4) + b"\x80\xc9\0\5\0\0",
        "a hundred packets": rtcp(201, b"\0\0\0\1") * 100, "only ones": b"\xff" * 100,
    }
    for kind in (200, 201, 202, 203, 205, 206):
        for words in (0, 1, 2, 5, 200, 0xFFFF):
            cases[f"{kind} that says {words} words"] = rtcp(kind, b"\0" * 8, words=words)
        cases[f"{kind} with 31 reports that are not there"] = rtcp(kind, b"\0" * 24, count=31)
    return cases


def damaged(packets: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Real packets with flipped bits, cut short, made longer, or put together from two."""
    pick = random.Random(seed)
    for _ in range(count):
        data = bytearray(pick.choice(packets))
        match pick.randrange(4):
            case 0:
                for _ in range(pick.randint(1, 8)):
                    data[pick.randrange(min(len(data), 40))] ^= 1 << pick.randrange(8)
            case 1:
                del data[pick.randrange(len(data)):]
            case 2:
                data += pick.randbytes(pick.randint(1, 40))
            case _:
                other = pick.choice(packets)
                data[pick.randrange(len(data)):] = other[pick.randrange(len(other)):]
        yield bytes(data)
