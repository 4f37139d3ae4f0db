"""An exported incident, untouched and with one thing changed at a time."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidBundle
from api.incidents.database import Database
from api.incidents.evidence_files import rgb_of
from api.incidents.export_bundle import INCIDENT, MANIFEST, pack, unpack, zipped
from api.incidents.incident_queries import IncidentQueries
from api.incidents.incident_store import IncidentStore
from api.incidents.replay_bundle import ReplayReport, replay_incident
from detector.config import DetectorConfig
from detector.face_follower import FaceFollower
from detector.factory import build_finder, build_scorer
from detector.fusion import log_likelihood_ratio
from detector.model_artifact import read_manifest
from stream.frame_analyser import FrameAnalyser, FrameSample
from stream.incident_case import IncidentCase
from stream.preview_pictures import PictureRenderer
from stream.types import FaceObservation, ModelRef
from tests.stream.cases import Watched
from tests.stream.observations import face, observation

if TYPE_CHECKING:
    from collections.abc import Callable

PORTRAIT = Path(__file__).resolve().parents[2] / "media" / "biden.jpg"
CONFIG = DetectorConfig()


def made_up(logit: float) -> FaceObservation:
    """Returns a face without a picture, with the score of the shipped model for this logit."""
    llr = log_likelihood_ratio(logit, 0.25, read_manifest(CONFIG.weights_dir).calibration)
    return msgspec.structs.replace(face(1, llr), logit=logit)


@pytest.fixture(scope="module")
def case() -> IncidentCase:
    """An alarm on one face, beside another that the shipped model has really looked at."""
    info = read_manifest(CONFIG.weights_dir).info
    watched = Watched(model=ModelRef(name=info.name, version=info.version, sha256=info.sha256))
    analyser = FrameAnalyser(build_finder(CONFIG), build_scorer(CONFIG), 16)
    rgb = np.ascontiguousarray(cv2.imread(str(PORTRAIT))[:, :, ::-1], dtype=np.uint8)
    tracks = FaceFollower(2)
    for number in range(-1, 40):
        (examined,) = analyser.examine([FrameSample(rgb, number / 2 + 1, tracks)])
        pictures = PictureRenderer(-100.0, 320, blur_faces=False).evidence(rgb, examined)
        faces = (made_up(8.0), *(msgspec.structs.replace(seen, track=2) for seen in examined.faces[:1]))
        assert pictures is not None
        shown = msgspec.structs.replace(
            pictures, faces=tuple(msgspec.structs.replace(seen, track=2) for seen in pictures.faces[:1])
        )
        seen = msgspec.structs.replace(
            observation(number, faces), stream=watched.stream, epoch=watched.epoch, pictures=shown
        )
        watched.watch.observe(seen)
        watched.take(watched.monitor.observe(seen, watched.moment))
        if watched.changes:
            break
    (opened,) = watched.changes
    assert isinstance(opened, IncidentCase)
    return opened


@pytest.fixture(scope="module")
def contents(case: IncidentCase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of its zip."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('replay')}/x.sqlite")
    IncidentStore(database).save(case)
    records = IncidentQueries(database)
    details = records.get(case.id)
    assert details is not None
    packed = pack(details, records.contents(case.id), 2000.0)
    database.close()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


Change = dict[str, bytes]


def replayed(folder: Path, contents: dict[str, bytes]) -> ReplayReport:
    path = folder / "incident.zip"
    path.write_bytes(zipped(contents))
    return replay_incident(path, None)


def covered_up(contents: dict[str, bytes]) -> dict[str, bytes]:
    """With a manifest that was changed, too, so that the digests agree again."""
    manifest = json.loads(contents[MANIFEST])
    for name in manifest["files"]:
        manifest["files"][name]["sha256"] = hashlib.sha256(contents[name]).hexdigest()
    return {**contents, MANIFEST: json.dumps(manifest).encode()}


def flipped(contents: dict[str, bytes], start: str) -> dict[str, bytes]:
    """Flips one bit in the middle of the first file whose name starts with `start`."""
    name = min(name for name in contents if name.startswith(start))
    data = bytearray(contents[name])
    data[len(data) // 2] ^= 1
    return {**contents, name: bytes(data)}


def edited(contents: dict[str, bytes], name: str, edit: Callable[[Any], None]) -> dict[str, bytes]:
    plain = json.loads(contents[name])
    edit(plain)
    return {**contents, name: json.dumps(plain).encode()}


def states(report: ReplayReport) -> dict[str, str]:
    return {check.name: check.state for check in report.checks}


def told(report: ReplayReport, name: str) -> str:
    return "; ".join(next(check.details for check in report.checks if check.name == name))


def test_an_untouched_incident_matches(contents: dict[str, bytes], tmp_path: Path) -> None:
    report = replayed(tmp_path, contents)
    assert report.matches, report.as_text()
    assert set(states(report).values()) == {"match"}
    assert sum(name.startswith("crops/") for name in contents) == 3


@pytest.mark.parametrize("start", ["frames/", "crops/", "heat/", "samples", "rules", "case", "pictures", INCIDENT])
def test_one_changed_bit_is_named(contents: dict[str, bytes], tmp_path: Path, start: str) -> None:
    changed = flipped(contents, start)
    report = replayed(tmp_path, changed)
    assert not report.matches
    (name,) = [name for name in contents if contents[name] != changed[name]]
    assert told(report, "files") == f"{name}: changed (its SHA-256 differs from the manifest)"


def test_missing_and_extra_files_are_named(contents: dict[str, bytes], tmp_path: Path) -> None:
    name = min(name for name in contents if name.startswith("frames/"))
    without = {key: value for key, value in contents.items() if key != name}
    assert told(replayed(tmp_path, without), "files") == f"{name}: missing"
    assert told(replayed(tmp_path, {**contents, "more.txt": b""}), "files") == "more.txt: not in the manifest"


def test_a_swapped_face_picture_is_found_by_its_score(contents: dict[str, bytes], tmp_path: Path) -> None:
    name = min(name for name in contents if name.startswith("crops/"))
    painted = rgb_of(contents[name]).copy()
    painted[60:160, 60:160] = 255 - painted[60:160, 60:160]
    report = replayed(tmp_path, covered_up({**contents, name: bytes(cv2.imencode(".png", painted)[1])}))
    assert (states(report)["files"], states(report)["scores"]) == ("match", "mismatch")
    assert told(report, "scores").startswith(f"{name}: stored logit ")


@pytest.mark.parametrize("field", ["llr", "logit"])
def test_a_changed_score_is_found_although_the_digests_agree(
    contents: dict[str, bytes], tmp_path: Path, field: str
) -> None:
    def edit(samples: Any) -> None:
        samples[-3]["faces"][0][field] -= 0.75

    report = replayed(tmp_path, covered_up(edited(contents, "samples.json", edit)))
    assert states(report)["files"] == "match"
    assert "face 1: stored llr" in told(report, "scores")
    assert (states(report)["decision"] == "mismatch") == (field == "llr")


def test_a_changed_policy_is_found_although_the_digests_agree(contents: dict[str, bytes], tmp_path: Path) -> None:
    def edit(rules: Any) -> None:
        rules["decision"]["false_alarms_per_hour"] = 0.02

    report = replayed(tmp_path, covered_up(edited(contents, "rules.json", edit)))
    assert "rules: manifest " in told(report, "rules")
    assert "decision.limit: kept " in told(report, "decision")


def test_a_changed_verdict_is_found_although_the_digests_agree(contents: dict[str, bytes], tmp_path: Path) -> None:
    def edit(case: Any) -> None:
        case["verdict"]["prob_fake"] = 0.5

    report = replayed(tmp_path, covered_up(edited(contents, "case.json", edit)))
    assert told(report, "decision").startswith("prob_fake: kept 0.5, derived ")


def test_scores_of_another_model_are_skipped(contents: dict[str, bytes], tmp_path: Path) -> None:
    def edit(case: Any) -> None:
        case["verdict"]["model"]["sha256"] = "ab" * 32

    report = replayed(tmp_path, covered_up(edited(contents, "case.json", edit)))
    assert states(report)["scores"] == "skipped"
    assert "model: manifest " in told(report, "rules")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (MANIFEST, b"{}", "manifest.json: "), (MANIFEST, b"\xff", "manifest.json: "), (MANIFEST, None, "is missing"),
    ],
)
def test_a_zip_that_is_not_an_incident_is_refused(
    contents: dict[str, bytes], tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    changed = {key: value for key, value in contents.items() if key != name}
    if content is not None:
        changed[name] = content
    with pytest.raises(InvalidBundle, match=words):
        replayed(tmp_path, changed)


@pytest.mark.parametrize("data", [b"", b"PK", b"something else"])
def test_a_file_that_is_not_a_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InvalidBundle, match="cannot be read"):
        replay_incident(tmp_path / "x.zip", None)


@pytest.mark.parametrize("name", ["samples.json", "rules.json", "case.json", "pictures.json"])
def test_files_of_nonsense_are_named(contents: dict[str, bytes], tmp_path: Path, name: str) -> None:
    report = replayed(tmp_path, covered_up({**contents, name: b'[{"a":1}]'}))
    assert not report.matches
    assert told(report, "decision").startswith(f"{name}: ")


@given(st.data())
def test_any_change_to_a_zip_is_named_or_refused(
    contents: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    packed = bytearray(zipped(contents))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.zip"
    path.write_bytes(packed)
    try:
        bundle = unpack(path)
    except InvalidBundle:
        return
    intact = {name: content for name, content in contents.items() if name != MANIFEST}
    assert bundle.differences or bundle.contents == intact, "the zip's own bookkeeping holds nothing of the incident"
