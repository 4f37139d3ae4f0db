"""Offers: which are taken, what is made of them, and that nothing else than a refusal can come of the others."""

from __future__ import annotations

import pytest
from aiortc import RTCPeerConnection
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from api.errors import OfferRefused
from api.ingest.whip.answer import finish_answer
from api.ingest.whip.offer import prepare_offer
from stream.types import Codec
from tests.api.offers import BROWSER, BROWSER_VIDEO_ONLY, ENCODER, MALFORMED, PASSWORD, UFRAG, UNACCEPTABLE, without


def refusal(offer: str) -> OfferRefused:
    with pytest.raises(OfferRefused) as caught:
        prepare_offer(offer)
    return caught.value


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_sdp_is_400(name: str) -> None:
    error = refusal(MALFORMED[name])
    assert (error.status, error.code) == (400, "sdp_malformed")
    assert error.message


@pytest.mark.parametrize("name", UNACCEPTABLE)
def test_an_offer_without_exactly_one_camera_is_422(name: str) -> None:
    error = refusal(UNACCEPTABLE[name])
    assert (error.status, error.code) == (422, "offer_unacceptable")
    assert error.message


def test_a_browser_keeps_its_usable_codecs_in_its_order() -> None:
    offer = prepare_offer(BROWSER)
    h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"
    assert offer.formats == ((96, Codec.VP8, ""), (102, Codec.H264, h264))
    parsed = SessionDescription.parse(offer.sdp)
    audio, video = parsed.media
    assert [c.mimeType for c in audio.rtp.codecs] == ["audio/opus"]
    assert [(c.mimeType, c.payloadType) for c in video.rtp.codecs] == [
        ("video/VP8", 96), ("video/rtx", 97), ("video/H264", 102), ("video/rtx", 103),
    ]  # fmt: skip
    assert [f"{f.type} {f.parameter or ''}".strip() for f in video.rtp.codecs[0].rtcpFeedback] == [
        "nack", "nack pli", "goog-remb"
    ]
    extensions = {e.uri.rpartition("/")[2].rpartition(":")[2] for e in video.rtp.headerExtensions}
    assert extensions == {"abs-send-time", "mid", "video-orientation"}
    assert [s.ssrc for s in video.ssrc] == [2001, 2002]
    assert video.rtp.muxId == "1"
    assert (video.ice.usernameFragment, video.ice.password) == (UFRAG, PASSWORD)
    assert parsed.group[0].items == ["0", "1"]


def test_candidates_of_the_offer_are_dropped() -> None:
    parsed = SessionDescription.parse(prepare_offer(BROWSER).sdp)
    assert all(media.ice_candidates == [] and not media.ice_candidates_complete for media in parsed.media)


def test_an_encoder_gets_its_own_profile_back() -> None:
    offer = prepare_offer(ENCODER)
    assert [each.codec for each in offer.formats] == [Codec.H264]
    answer = (
        "v=0\r\nm=video 9 X 106\r\na=msid:a b\r\na=ssrc:1 cname:x\r\na=ssrc-group:FID 1 2\r\n"
        "a=fmtp:106 profile-level-id=42e01f\r\na=rtcp-mux\r\n"
    )
    assert finish_answer(answer, offer) == (
        "v=0\r\nm=video 9 X 106\r\n"
        "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f\r\na=rtcp-mux\r\n"
        "a=rtcp-mux-only\r\n"
    )


@pytest.mark.parametrize("profile", ["42001f", "42e01f", "42c01f", "42401f", "42C034", "4d001f", "4d401f", "4D0032",
                                     "64001f", "640c1f", "640028", "640034", "58a01e"])
@pytest.mark.parametrize("mode", ["0", "1"])
def test_profiles_of_common_encoders_are_accepted(profile: str, mode: str) -> None:
    text = ENCODER.replace("640c1f", profile).replace("packetization-mode=1", f"packetization-mode={mode}")
    offer = prepare_offer(text)
    assert f"packetization-mode={mode};profile-level-id={profile.lower()}" in offer.formats[0].fmtp


def test_h264_without_parameters_is_constrained_baseline() -> None:
    offer = prepare_offer(without(ENCODER, "a=fmtp"))
    assert offer.formats[0].fmtp == "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"


def test_unsupported_h264_is_skipped() -> None:
    text = BROWSER.replace("SAVPF 96 97 102", "SAVPF 102 96 97").replace("42001f", "f4001f")
    assert [each.codec for each in prepare_offer(text).formats] == [Codec.VP8]


def test_bundle_only_media_may_have_port_0() -> None:
    assert prepare_offer(BROWSER.replace("m=video 9", "m=video 0").replace("a=mid:1", "a=mid:1\r\na=bundle-only"))


def test_lines_may_end_in_newlines_alone() -> None:
    assert prepare_offer(BROWSER.replace("\r\n", "\n")) == prepare_offer(BROWSER)


def test_session_attributes_apply_to_all_media() -> None:
    lines = [line for line in BROWSER_VIDEO_ONLY.splitlines() if line.startswith(("a=ice-", "a=fing", "a=setup"))]
    rest = [line for line in BROWSER_VIDEO_ONLY.splitlines() if line not in lines]
    moved = "\r\n".join(rest[:4] + lines + rest[4:]) + "\r\n"
    assert prepare_offer(moved) == prepare_offer(BROWSER_VIDEO_ONLY)


async def test_offers_of_aiortc_are_accepted() -> None:
    connection = RTCPeerConnection()
    connection.addTransceiver("audio", direction="sendonly")
    connection.addTransceiver("video", direction="sendonly")
    try:
        await connection.setLocalDescription(await connection.createOffer())
        assert prepare_offer(connection.localDescription.sdp).formats[0].codec is Codec.VP8
    finally:
        await connection.close()


def _accepted_or_refused(text: str) -> None:
    """Whatever is accepted must be fit for the parser behind, which is known to fail in many ways."""
    try:
        offer = prepare_offer(text)
    except OfferRefused:
        return
    parsed = SessionDescription.parse(offer.sdp)
    assert 1 <= len(parsed.media) <= 2
    assert all(media.dtls is not None and media.dtls.fingerprints for media in parsed.media)
    assert all(media.ice.usernameFragment and media.ice.password and media.rtcp_mux for media in parsed.media)
    assert str(parsed)


_OFFERS = st.sampled_from((BROWSER, BROWSER_VIDEO_ONLY, ENCODER))
_SALT = st.text(alphabet="\r\n\t =:/;*-0123456789abcamv\x00\u2028\u0669\U0001f600", max_size=12)


@given(st.text(max_size=400))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    _accepted_or_refused(text)


@given(_OFFERS, st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 40), _SALT), min_size=1, max_size=4))
def test_any_damaged_offer_is_accepted_or_refused(offer: str, damage: list[tuple[int, int, str]]) -> None:
    for at, removed, put in damage:
        offer = offer[:at] + put + offer[at + removed :]
    _accepted_or_refused(offer)


@given(_OFFERS, st.lists(st.integers(0, 80), max_size=12), st.lists(st.integers(0, 80), max_size=6))
def test_any_offer_with_lines_missing_or_doubled_is_accepted_or_refused(
    offer: str, missing: list[int], doubled: list[int]
) -> None:
    lines = offer.splitlines(keepends=True)
    kept = [line * (2 if n in doubled else 1) for n, line in enumerate(lines) if n not in missing]
    _accepted_or_refused("".join(kept))
