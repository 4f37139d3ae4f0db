"""SDP offers as publishers of several kinds send them."""

from __future__ import annotations

from api.http.auth import Caller
from api.ingest.whip.session import Offer
from stream.identity import StreamIdentity

LOCAL = Caller("127.0.0.1", "")
FINGERPRINT = "sha-256 " + ":".join(f"{n:02X}" for n in range(32))
UFRAG, PASSWORD = "Hk4f", "pRYL2zw/rK1L6Yd4x5cQmTz8"

_TRANSPORT = f"""c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1467250027 1 udp 2122260223 192.168.0.196 46243 typ host generation 0
a=candidate:1467250027 1 udp 2122260223 4f1c3b2a-93c7-4a0b-9bb7-0c5a5a4a1d11.local 46244 typ host generation 0
a=end-of-candidates
a=ice-ufrag:{UFRAG}
a=ice-pwd:{PASSWORD}
a=ice-options:trickle
a=fingerprint:{FINGERPRINT}
a=setup:actpass
"""

AUDIO = f"""m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8
{_TRANSPORT}a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=sendonly
a=msid:stream audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=ssrc:1001 cname:one
"""

VIDEO = f"""m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 98 99 35 127
{_TRANSPORT}a=mid:1
a=extmap:14 urn:ietf:params:rtp-hdrext:toffset
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:13 urn:3gpp:video-orientation
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendonly
a=msid:stream video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 transport-cc
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:102 H264/90000
a=rtcp-fb:102 nack
a=rtcp-fb:102 nack pli
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
a=rtpmap:103 rtx/90000
a=fmtp:103 apt=102
a=rtpmap:98 VP9/90000
a=fmtp:98 profile-id=0
a=rtpmap:99 rtx/90000
a=fmtp:99 apt=98
a=rtpmap:35 AV1/90000
a=rtpmap:127 ulpfec/90000
a=ssrc-group:FID 2001 2002
a=ssrc:2001 cname:one
a=ssrc:2001 msid:stream video
a=ssrc:2002 cname:one
a=ssrc:2002 msid:stream video
"""

HEAD = """v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS stream
"""

BROWSER = (HEAD + AUDIO + VIDEO).replace("\n", "\r\n")
BROWSER_VIDEO_ONLY = (HEAD.replace("BUNDLE 0 1", "BUNDLE 1") + VIDEO).replace("\n", "\r\n")

ENCODER = f"""v=0
o=Encoder 4611686018427387904 2 IN IP4 127.0.0.1
s=EncoderPublishSession
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:{UFRAG}
a=ice-pwd:{PASSWORD}
a=fingerprint:{FINGERPRINT}
a=setup:passive
a=mid:0
a=sendonly
a=msid:Encoder audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=ssrc:3001 cname:Encoder
m=video 9 UDP/TLS/RTP/SAVPF 106
c=IN IP4 0.0.0.0
a=ice-ufrag:{UFRAG}
a=ice-pwd:{PASSWORD}
a=fingerprint:{FINGERPRINT}
a=setup:passive
a=mid:1
a=sendonly
a=msid:Encoder video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f
a=ssrc:3002 cname:Encoder
""".replace("\n", "\r\n")


def without(offer: str, prefix: str) -> str:
    """The offer without the lines that start like this."""
    return "".join(line for line in offer.splitlines(keepends=True) if not line.startswith(prefix))


def many_media(count: int) -> str:
    """An offer of `count` video sections."""
    mids = " ".join(str(n) for n in range(count))
    head = HEAD.replace("BUNDLE 0 1", f"BUNDLE {mids}")
    section = "".join(line for line in VIDEO.splitlines(keepends=True) if not line.startswith(("a=rt", "a=fmtp")))
    return (head + "".join(section.replace("a=mid:1", f"a=mid:{n}") for n in range(count))).replace("\n", "\r\n")


DATA_CHANNEL = f"""m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=ice-ufrag:{UFRAG}
a=ice-pwd:{PASSWORD}
a=fingerprint:{FINGERPRINT}
a=setup:actpass
a=mid:2
a=sctp-port:5000
a=max-message-size:262144
""".replace("\n", "\r\n")

_ONE = BROWSER_VIDEO_ONLY
_TWO = BROWSER
_H264 = BROWSER_VIDEO_ONLY.replace("SAVPF 96 97 102", "SAVPF 102")

MALFORMED: dict[str, str] = {
    "empty": "",
    "a word": "hello",
    "json": '{"type": "offer"}',
    "blank lines": "\r\n\r\n\r\n",
    "nothing but a version": "v=0\r\n",
    "another version": _ONE.replace("v=0", "v=1", 1),
    "no version": without(_ONE, "v="),
    "no origin": without(_ONE, "o="),
    "a line that is none": _ONE.replace("s=-", "what is this"),
    "an upper case type": _ONE.replace("t=0 0", "T=0 0"),
    "a NUL": _ONE.replace("s=-", "s=\0"),
    "a vertical tab": _ONE.replace("s=-", "s=a\x0bm=video 9 UDP/TLS/RTP/SAVPF 96"),
    "an escape": _ONE.replace("s=-", "s=\x1b[31m"),
    "media without a port": _ONE.replace("m=video 9 ", "m=video "),
    "media with words for a port": _ONE.replace("m=video 9", "m=video abc"),
    "media and nothing else": _ONE.replace("m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 98 99 35 127", "m=video abc"),
    "a port that is too large": _ONE.replace("m=video 9", "m=video 65536"),
    "a negative port": _ONE.replace("m=video 9", "m=video -1"),
    "media without formats": _ONE.replace(" 96 97 102 103 98 99 35 127", ""),
    "a payload type over 127": _ONE.replace("SAVPF 96 97", "SAVPF 196 97"),
    "a payload type of a hundred digits": _ONE.replace("SAVPF 96 97", f"SAVPF {'9' * 100} 97"),
    "a payload type in words": _ONE.replace("SAVPF 96 97", "SAVPF webm 97"),
    "a negative payload type": _ONE.replace("SAVPF 96 97", "SAVPF -1 97"),
    "digits of another script": _ONE.replace("m=video 9", "m=video \u0669"),
    "an rtpmap without a codec": _ONE.replace("a=rtpmap:96 VP8/90000", "a=rtpmap:96"),
    "an rtpmap without a clock": _ONE.replace("a=rtpmap:96 VP8/90000", "a=rtpmap:96 VP8"),
    "an rtpmap with a clock of words": _ONE.replace("VP8/90000", "VP8/fast"),
    "an rtpmap with an enormous clock": _ONE.replace("VP8/90000", "VP8/" + "9" * 50),
    "an fmtp without parameters": _ONE.replace("a=fmtp:97 apt=96", "a=fmtp:97"),
    "an fmtp for no number": _ONE.replace("a=fmtp:97 apt=96", "a=fmtp:x apt=96"),
    "an extension without a URI": _ONE.replace("a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid", "a=extmap:4"),
    "an extension in words": _ONE.replace("a=extmap:4 ", "a=extmap:four "),
    "a short ufrag": _ONE.replace(UFRAG, "abc"),
    "a ufrag with a blank": _ONE.replace(UFRAG, "ab cd"),
    "a short password": _ONE.replace(PASSWORD, "short"),
    "an endless password": _ONE.replace(PASSWORD, "x" * 257),
    "two ufrags in a section": _ONE.replace("a=ice-options:trickle", "a=ice-ufrag:Other"),
    "two roles in a section": _ONE.replace("a=setup:actpass", "a=setup:actpass\r\na=setup:active"),
    "a truncated fingerprint": _ONE.replace(FINGERPRINT, FINGERPRINT[:-3]),
    "a fingerprint that is no hex": _ONE.replace("00:01:02", "zz:01:02"),
    "a fingerprint that is empty": _ONE.replace(FINGERPRINT, "sha-256"),
    "a mid with a blank": _ONE.replace("a=mid:1", "a=mid:1 2"),
    "a mid without a name": _ONE.replace("a=mid:1", "a=mid:"),
    "a mid without an end": _ONE.replace("a=mid:1", "a=mid:" + "m" * 33),
    "the same mid twice": _TWO.replace("a=mid:1", "a=mid:0"),
    "thousands of lines": _ONE + "a=x\r\n" * 3000,
}

UNACCEPTABLE: dict[str, str] = {
    "no media": HEAD.replace("\n", "\r\n"),
    "audio alone": (HEAD.replace("BUNDLE 0 1", "BUNDLE 0") + AUDIO).replace("\n", "\r\n"),
    "a data channel alone": HEAD.replace("\n", "\r\n").replace("BUNDLE 0 1", "BUNDLE 2") + DATA_CHANNEL,
    "a data channel beside the video": _TWO.replace("BUNDLE 0 1", "BUNDLE 0 1 2") + DATA_CHANNEL,
    "two cameras": many_media(2),
    "50 cameras": many_media(50),
    "two microphones": _TWO.replace("BUNDLE 0 1", "BUNDLE 0 1 2") + AUDIO.replace("a=mid:0", "a=mid:2"),
    "subtitles": _ONE.replace("BUNDLE 1", "BUNDLE 1 3") + "m=text 9 RTP/AVP 100\r\na=mid:3\r\n",
    "a viewer": _ONE.replace("a=sendonly", "a=recvonly"),
    "nobody": _ONE.replace("a=sendonly", "a=inactive"),
    "a video that is switched off": _ONE.replace("m=video 9", "m=video 0"),
    "no fingerprint": without(_ONE, "a=fingerprint"),
    "a fingerprint of MD5": _ONE.replace(FINGERPRINT, "md5 " + ":".join(["AA"] * 16)),
    "no ufrag": without(_ONE, "a=ice-ufrag"),
    "no password": without(_ONE, "a=ice-pwd"),
    "no role": without(_ONE, "a=setup"),
    "holdconn": _ONE.replace("a=setup:actpass", "a=setup:holdconn"),
    "an unknown role": _ONE.replace("a=setup:actpass", "a=setup:boss"),
    "no rtcp-mux": without(_ONE, "a=rtcp-mux"),
    "no mid": without(_ONE, "a=mid"),
    "media apart": without(_TWO, "a=group"),
    "media half apart": _TWO.replace("BUNDLE 0 1", "BUNDLE 0"),
    "two ICE agents": _TWO.replace(f"a=ice-ufrag:{UFRAG}", "a=ice-ufrag:Other", 1),
    "the same payload type twice": _TWO.replace("111", "96"),
    "media without encryption": _ONE.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
    "media over TCP": _ONE.replace("UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF"),
    "VP9 and AV1 alone": _ONE.replace("SAVPF 96 97 102 103 98", "SAVPF 98"),
    "a codec nobody knows": _ONE.replace("VP8/90000", "VP80/90000").replace("H264/90000", "H26X/90000"),
    "VP8 at another clock": _ONE.replace("VP8/90000", "VP8/48000").replace("H264/90000", "H264/1"),
    "codecs without a name": without(_ONE, "a=rtpmap"),
    "H.264 in 10 bit": _H264.replace("42001f", "6e001f"),
    "H.264 in 4:4:4": _H264.replace("42001f", "f4001f"),
    "H.264 interleaved": _H264.replace("packetization-mode=1", "packetization-mode=2"),
    "H.264 of a profile that is none": _H264.replace("42001f", "baseline"),
    "audio of a kind that is none of WebRTC": _TWO.replace("111 63 9 0 8", "111").replace("opus/48000/2", "MP4A/48000"),
}


def an_offer(stream: str = "call", sdp: str = BROWSER_VIDEO_ONLY, caller: Caller = LOCAL) -> Offer:
    """What a route makes of a request."""
    return Offer(StreamIdentity(stream), sdp, caller)


def damaged_offers() -> dict[str, str]:
    """Every line of a browser's offer missing, twice, cut after its name, cut in the middle, and with a number too
    large: offers that may be good or bad, but that must not break anything."""
    lines = BROWSER.splitlines(keepends=True)
    damaged = {}
    for number, line in enumerate(lines):
        text = line.rstrip()
        for name, now in (
            ("missing", ""), ("twice", line * 2), ("cut after its name", text.partition(":")[0] + "\r\n"),
            ("cut in the middle", text[: len(text) // 2] + "\r\n"), ("too large", text + "9" * 30 + "\r\n"),
        ):
            damaged[f"line {number} {name}: {text[:30]}"] = "".join((*lines[:number], now, *lines[number + 1:]))
    return damaged
