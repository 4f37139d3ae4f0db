"""Call history: the timeline of a stream, its suspicious frames, and the reference spectrum."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from api.errors import NotFound
from api.incidents.evidence_files import pictured_frame
from api.incidents.signed_urls import frame_path
from api.routes.context import AppContext, context_of
from api.routes.dependencies import require_key
from api.routes.json_answers import NO_STORE, described, json_response
from api.routes.schemas import ErrorAnswer
from api.routes.timeline_schemas import EndAnswer, EvidenceFrame, EvidenceFrames, TimelineAnswer
from detector.real_spectrum import RealSpectrum, shipped_real_spectrum
from stream.call_history import CallRecord
from stream.types import Observation

StreamId = Annotated[str, Path(max_length=200)]
Epoch = Annotated[int | None, Query(ge=0, le=2**53)]
Number = Annotated[int, Path(ge=0, le=2**53)]

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: described(ErrorAnswer)}

router = APIRouter(prefix="/v1", tags=["streams"])
keyed = [Depends(require_key)]


class SignedQuery(BaseModel):
    """The query of a signed URL."""

    expires: str = Field("", max_length=20)
    signature: str = Field("", max_length=64)


@router.get(
    "/streams/{stream_id}/timeline", responses={**_UNKNOWN, 200: described(TimelineAnswer)}, dependencies=keyed
)
async def get_timeline(request: Request, stream_id: StreamId, epoch: Epoch = None) -> Response:
    """Returns the timeline of a call, coarser with age, of the latest epoch by default. Kept a while after the end."""
    records, now_s = context_of(request).service.records, time.monotonic()
    record = records.get(stream_id, epoch, now_s)
    return json_response(timeline_of(record, records.epochs(stream_id, now_s)), headers=NO_STORE)


@router.get(
    "/streams/{stream_id}/evidence", responses={**_UNKNOWN, 200: described(EvidenceFrames)}, dependencies=keyed
)
async def list_evidence(request: Request, stream_id: StreamId, epoch: Epoch = None) -> Response:
    """Lists the pictures of suspicious samples of a call, by time."""
    context = context_of(request)
    record = context.service.records.get(stream_id, epoch, time.monotonic())
    frames = tuple(_frame(context, record, seen) for seen in record.suspicious_frames.pictured)
    answer = EvidenceFrames(stream=stream_id, epoch=record.started.epoch, frames=frames)
    return json_response(answer, headers=NO_STORE)


@router.get(
    "/streams/{stream_id}/evidence/{epoch}/{sequence}.jpg",
    responses={**_UNKNOWN, 200: {"content": {"image/jpeg": {}}}}, response_class=Response,
)
async def get_evidence_frame(
    request: Request, stream_id: StreamId, epoch: Number, sequence: Number, ticket: Annotated[SignedQuery, Query()]
) -> Response:
    """Returns one picture. Needs an API key or a signed URL from the list."""
    context = context_of(request)
    path = frame_path(stream_id, epoch, sequence)
    if not context.incidents.urls.is_valid(path, expires=ticket.expires, signature=ticket.signature, now_s=time.time()):
        await require_key(request)
    seen = context.service.records.get(stream_id, epoch, time.monotonic()).suspicious_frames.find(sequence)
    if seen is None or seen.pictures is None:
        raise NotFound("no_frame", "this frame is not stored, or has been deleted")
    headers = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
    return Response(seen.pictures.jpeg, media_type="image/jpeg", headers=headers)


@router.get("/spectrum", responses={200: described(RealSpectrum)}, dependencies=keyed)
async def get_spectrum() -> Response:
    """Returns the measured spectrum of real faces in calls."""
    return json_response(shipped_real_spectrum(), headers={"Cache-Control": "private, max-age=3600"})


def timeline_of(record: CallRecord, epochs: tuple[int, ...]) -> TimelineAnswer:
    """Returns the timeline of one epoch, with the known epochs of its stream."""
    started, ended = record.started, record.ended
    return TimelineAnswer(
        stream=started.stream,
        epoch=started.epoch,
        source=started.source,
        started_s=started.started_s,
        sample=started.sample,
        call_id=started.call_id,
        participant_id=started.participant_id,
        epochs=epochs,
        state="live" if ended is None else "ended",
        ended=None if ended is None else EndAnswer(reason=ended.reason, message=ended.message),
        verdict=record.verdict,
        buckets=tuple(record.timeline.buckets),
        marks=record.marks,
    )


def _frame(context: AppContext, record: CallRecord, seen: Observation) -> EvidenceFrame:
    pictured = pictured_frame(seen)
    path = frame_path(record.started.stream, record.started.epoch, seen.sequence)
    return EvidenceFrame(
        sequence=pictured.sequence,
        cell=pictured.cell,
        pts_s=pictured.pts_s,
        frame=f"{seen.sequence}.jpg",
        faces=pictured.faces,
        url=context.incidents.urls.url(path, time.time()),
    )
