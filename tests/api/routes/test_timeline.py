from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import pytest

from api.routes.timeline_schemas import EvidenceFrames, TimelineAnswer
from detector.real_spectrum import RealSpectrum
from tests.api.calls import running_call
from tests.api.conftest import KEY
from tests.api.routes.test_files import until
from tests.api.shapes import answer_as
from tests.stream.cases import pictures_of, suspect
from tests.stream.observations import observation

if TYPE_CHECKING:
    import httpx

    from stream.types import Observation
    from tests.api.rig import Rig


def pictured(stream: str, epoch: int) -> Observation:
    seen = msgspec.structs.replace(observation(40, (suspect(),)), stream=stream, epoch=epoch)
    return msgspec.structs.replace(seen, pictures=pictures_of(seen))


def test_the_timeline_of_a_call_outlives_it(rig: Rig, client: httpx.Client) -> None:
    with running_call(rig, "remembered") as call:
        call.feed(seconds=8)
        until(lambda: client.get("/v1/streams/remembered/timeline").json()["buckets"])
        running = answer_as(TimelineAnswer, client.get("/v1/streams/remembered/timeline").json())
        assert (running.state, running.ended, running.call_id) == ("live", None, "a-call")
    over = answer_as(TimelineAnswer, client.get("/v1/streams/remembered/timeline").json())
    assert over.state == "ended"
    assert over.ended is not None
    assert over.epochs == (over.epoch,)
    assert over.verdict is not None
    assert over.buckets
    assert over.buckets[-1].end_s >= over.verdict.end_s
    assert {bucket.rate_hz for bucket in over.buckets} <= {0.5, 1.0, 2.0, 5.0}
    named = client.get("/v1/streams/remembered/timeline", params={"epoch": over.epoch}).json()
    assert named["buckets"] == client.get("/v1/streams/remembered/timeline").json()["buckets"]


@pytest.mark.parametrize("path", ["timeline", "evidence", "timeline?epoch=3", "evidence/3/4.jpg"])
def test_an_expired_timeline_is_404(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/streams/never-heard-of/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "stream_unknown")


@pytest.mark.parametrize("path", ["timeline?epoch=x", "timeline?epoch=-1", "evidence/3/4.png", "evidence/3/-4.jpg"])
def test_a_non_numeric_epoch_is_refused(client: httpx.Client, path: str) -> None:
    assert client.get(f"/v1/streams/x/{path}").status_code in (404, 422)


def test_suspicious_frames_have_addresses_that_need_no_key(keyed_rig: Rig) -> None:
    with keyed_rig.client(KEY) as client, keyed_rig.client() as stranger:
        with running_call(keyed_rig, "a suspect") as call:
            seen = pictured("a suspect", call.session.epoch)
            keyed_rig.call(call.session.observed, seen)
            listed = answer_as(EvidenceFrames, client.get("/v1/streams/a%20suspect/evidence").json())
        (frame,) = listed.frames
        (face,) = frame.faces
        assert (frame.pts_s, face.heat_map, len(face.spectrum)) == (seen.pts_s, tuple(range(49)), 32)
        answer = stranger.get(frame.url)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert seen.pictures is not None
        assert answer.content == seen.pictures.jpeg
        bare = urlsplit(frame.url).path
        assert stranger.get(bare).status_code == 401
        assert stranger.get(frame.url.replace(f"{seen.sequence}.jpg", f"{seen.sequence + 1}.jpg")).status_code == 401
        assert client.get(bare).status_code == 200


def test_the_spectrum_of_real_faces_names_its_source(client: httpx.Client) -> None:
    told = answer_as(RealSpectrum, client.get("/v1/spectrum").json())
    assert len(told.low) == len(told.middle) == len(told.high) == 32
    assert told.faces >= 500
