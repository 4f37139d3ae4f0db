"""Evidence files: an incident case encoded as JSON and pictures, and decoded again. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

import cv2
import msgspec
import numpy as np

from api.errors import InvalidBundle
from stream.events import Verdict
from stream.heat_map_picture import heat_cells, overlay
from stream.incident_case import IncidentCase, Origin, Rules
from stream.preview_pictures import jpeg_of
from stream.types import FaceObservation, FacePicture, Observation

CASE, RULES, SAMPLES, PICTURES = "case.json", "rules.json", "samples.json", "pictures.json"

Kind = TypeVar("Kind")

_HEAT_QUALITY = 85
_MEDIA_TYPES = {"json": "application/json", "jpg": "image/jpeg", "png": "image/png"}
_encoder = msgspec.json.Encoder(order="deterministic")


class EvidenceFile(NamedTuple):
    """One evidence file. `name` may include a folder."""

    name: str
    content: bytes

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self.name.rpartition(".")[2]]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class CaseFile(msgspec.Struct, frozen=True, kw_only=True):
    """`case.json`. `verdict` opened the alarm; `base` is the earlier verdict that the samples start from, if any."""

    origin: Origin
    opened_s: float
    verdict: Verdict
    base: Verdict | None


class PicturedFace(msgspec.Struct, frozen=True, kw_only=True):
    """One suspicious face on a picture. `crop` and `heat` are file names, None where faces are blurred.

    `heat_map` is s x s row-major, 0..255. `spectrum` is the natural log of the power in 32 bands up to 0.5 cycles/px.
    """

    track: int
    box: tuple[float, float, float, float]
    logit: float | None
    llr: float | None
    prob_fake: float | None
    frequency_score: float | None
    crop: str | None
    heat: str | None
    heat_map: tuple[int, ...]
    spectrum: tuple[float, ...]


class PicturedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `pictures.json`: a sampled frame with its suspicious faces."""

    sequence: int
    cell: int
    pts_s: float
    frame: str
    faces: tuple[PicturedFace, ...]


def files_of(case: IncidentCase) -> tuple[EvidenceFile, ...]:
    """Encodes a case. Takes about 10 ms."""
    header = CaseFile(origin=case.origin, opened_s=case.opened_s, verdict=case.verdict, base=case.base)
    return (
        EvidenceFile(CASE, _encoder.encode(header)),
        EvidenceFile(RULES, _encoder.encode(case.rules)),
        EvidenceFile(SAMPLES, _encoder.encode(case.samples)),
        EvidenceFile(PICTURES, _encoder.encode([pictured_frame(seen) for seen in case.pictured])),
        *(file for seen in case.pictured for file in _pictures_of(seen)),
    )


def case_of(contents: Mapping[str, bytes]) -> IncidentCase:
    """Decodes a case, without its pictures. Raises InvalidBundle."""
    header = _decoded(contents, CASE, CaseFile)
    return IncidentCase(
        origin=header.origin, opened_s=header.opened_s, verdict=header.verdict, base=header.base,
        rules=_decoded(contents, RULES, Rules), samples=_decoded(contents, SAMPLES, tuple[Observation, ...]),
        pictured=(),
    )


def frames_of(contents: Mapping[str, bytes]) -> tuple[PicturedFrame, ...]:
    """Decodes `pictures.json`. Raises InvalidBundle."""
    return _decoded(contents, PICTURES, tuple[PicturedFrame, ...])


def _decoded(contents: Mapping[str, bytes], name: str, kind: type[Kind]) -> Kind:
    if name not in contents:
        raise InvalidBundle(f"{name} is missing: the file is not a complete incident export")
    try:
        return msgspec.json.decode(contents[name], type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidBundle(f"{name}: {error}") from None


def pictured_frame(seen: Observation) -> PicturedFrame:
    """Returns the `pictures.json` entry of a sample with pictures."""
    faces = tuple(_face_of(seen, face, picture) for face, picture in _suspects(seen))
    return PicturedFrame(
        sequence=seen.sequence, cell=seen.cell, pts_s=seen.pts_s, frame=f"frames/{seen.sequence:08d}.jpg", faces=faces
    )


def _face_of(seen: Observation, face: FaceObservation, picture: FacePicture) -> PicturedFace:
    name = f"{seen.sequence:08d}-{face.track}"
    has_heat = picture.png is not None and face.heat_map is not None
    return PicturedFace(
        track=face.track, box=face.box, logit=face.logit, llr=face.llr, prob_fake=face.prob_fake,
        frequency_score=face.frequency_score, crop=f"crops/{name}.png" if picture.png is not None else None,
        heat=f"heat/{name}.jpg" if has_heat else None, heat_map=tuple(face.heat_map or b""), spectrum=picture.spectrum,
    )


def _pictures_of(seen: Observation) -> Iterator[EvidenceFile]:
    if seen.pictures is None:
        return
    yield EvidenceFile(f"frames/{seen.sequence:08d}.jpg", seen.pictures.jpeg)
    for face, picture in _suspects(seen):
        named = _face_of(seen, face, picture)
        if named.crop is not None and picture.png is not None:
            yield EvidenceFile(named.crop, picture.png)
            if named.heat is not None:
                yield EvidenceFile(named.heat, _heat_jpeg(picture.png, face.heat_map or b""))


def _suspects(seen: Observation) -> Iterator[tuple[FaceObservation, FacePicture]]:
    pictures = {picture.track: picture for picture in seen.pictures.faces} if seen.pictures is not None else {}
    return ((face, pictures[face.track]) for face in seen.faces if face.track in pictures)


def _heat_jpeg(crop_png: bytes, heat_map: bytes) -> bytes:
    """Returns the crop with its heat map overlaid, as JPEG."""
    return jpeg_of(overlay(rgb_of(crop_png), heat_cells(heat_map)), _HEAT_QUALITY)


def rgb_of(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Decodes a picture to uint8 RGB (h, w, 3). Raises InvalidBundle."""
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) if png else None
    if bgr is None:
        raise InvalidBundle("a picture cannot be decoded")
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
