from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import OfferRefused
from api.ingest.whip.trickle import read_fragment, require_match
from tests.api.offers import PASSWORD, UFRAG
from tests.api.rfc9725 import CANDIDATE, RESTART, TRICKLE

MIDS = ("0", "1")


def test_a_fragment_is_parsed() -> None:
    fragment = read_fragment(TRICKLE, MIDS)
    assert (fragment.ufrag, fragment.password) == (UFRAG, PASSWORD)
    assert [candidate.address for candidate in fragment.candidates] == ["192.0.2.1"]
    assert read_fragment(TRICKLE.replace("\r\n", "\n"), MIDS) == fragment


@pytest.mark.parametrize("text", [
    "", "\r\n", "v=0\r\n", "a=\r\n", "hello", "a=candidate:x\r\n",
    "a=mid:2\r\n", "a=ice-ufrag:ab\r\n", "a=ice-pwd:a b\r\n",
    RESTART + TRICKLE, CANDIDATE + "\0", f"{CANDIDATE}\r\n" * 201,
])
def test_malformed_fragments_are_400(text: str) -> None:
    with pytest.raises(OfferRefused) as refused:
        read_fragment(text, MIDS)
    assert (refused.value.status, refused.value.code) == (400, "fragment_malformed")


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for fragment in (text, TRICKLE + text, "a=" + text):
        with suppress(OfferRefused):
            read_fragment(fragment, MIDS)


@pytest.mark.parametrize(("fragment", "restarts"), [
    (TRICKLE, False), (CANDIDATE, False), (RESTART, True), (f"a=ice-ufrag:{UFRAG}", False), ("a=ice-ufrag:Othr", True),
])
def test_other_credentials_request_a_restart(fragment: str, restarts: bool) -> None:
    assert read_fragment(fragment, MIDS).restarts(UFRAG, PASSWORD) is restarts


@pytest.mark.parametrize(("if_match", "status"), [
    (None, 428), ("", 412), ('"b"', 412), ('W/"a"', 412), ("a", 412), ('"a"', 0), ('"b", "a"', 0), (" * ", 0),
    ('"b,a"', 412),
])
def test_if_match_is_compared_strongly(if_match: str | None, status: int) -> None:
    try:
        require_match(if_match, '"a"')
        found = 0
    except OfferRefused as error:
        found = error.status
    assert found == status
