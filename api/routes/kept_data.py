"""Privacy: export and erasure of what is kept about one participant or one call."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import StreamingResponse

from api.incidents.kept_data import DataSubject
from api.incidents.kept_export import export_of
from api.routes.context import AppContext, context_of
from api.routes.dependencies import require_key
from api.routes.incident_schemas import ErasureAnswer
from api.routes.json_answers import NO_STORE, described, json_response
from api.routes.timeline import timeline_of
from stream.call_history import CallRecord
from stream.identity import LABEL

log = structlog.get_logger(__name__)

Label = Annotated[str, Path(min_length=1, max_length=128, pattern=f"^{LABEL}$")]

_ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}}}
_ERASED: dict[int | str, dict[str, Any]] = {200: described(ErasureAnswer)}

router = APIRouter(prefix="/v1", tags=["privacy"], dependencies=[Depends(require_key)])


@router.get("/participants/{participant_id}/export", responses=_ZIP, response_class=Response)
async def export_participant(request: Request, participant_id: Label) -> Response:
    """Returns a zip of what is kept about one participant: incidents with evidence, timelines, pictures in memory."""
    return await _exported(context_of(request), DataSubject(participant_id=participant_id))


@router.get("/calls/{call_id}/export", responses=_ZIP, response_class=Response)
async def export_call(request: Request, call_id: Label) -> Response:
    """Returns a zip of what is kept about all participants of one call."""
    return await _exported(context_of(request), DataSubject(call_id=call_id))


@router.delete("/participants/{participant_id}", responses=_ERASED)
async def erase_participant(request: Request, participant_id: Label) -> Response:
    """Erases what is kept about one participant, except incidents under a legal hold and running streams."""
    return await _erased(context_of(request), DataSubject(participant_id=participant_id))


@router.delete("/calls/{call_id}", responses=_ERASED)
async def erase_call(request: Request, call_id: Label) -> Response:
    """Erases what is kept about all participants of one call, except incidents under a legal hold."""
    return await _erased(context_of(request), DataSubject(call_id=call_id))


async def _exported(context: AppContext, subject: DataSubject) -> Response:
    ids = await context.incidents.run_in_thread(context.incidents.kept_data.incidents_of, subject)
    calls = [file for record in _records(context, subject) for file in _files_of(record)]
    headers = {"Content-Disposition": 'attachment; filename="kept.zip"', **NO_STORE}
    return StreamingResponse(
        export_of(context.incidents, subject, ids, calls), media_type="application/zip", headers=headers
    )


async def _erased(context: AppContext, subject: DataSubject) -> Response:
    erasure = await context.incidents.run_in_thread(context.incidents.kept_data.erase, subject)
    records = _records(context, subject)
    running = tuple(record.started.stream for record in records if not context.service.records.drop(record))
    answer = ErasureAnswer(**msgspec.structs.asdict(erasure), calls=len(records) - len(running), running=running)
    log.info("data erased", incidents=answer.incidents, calls=answer.calls, held=len(answer.held))
    return json_response(answer, headers=NO_STORE)


def _records(context: AppContext, subject: DataSubject) -> tuple[CallRecord, ...]:
    records, now_s = context.service.records, time.monotonic()
    if subject.participant_id:
        return records.of_participant(subject.participant_id, now_s)
    return records.of_call(subject.call_id, now_s)


def _files_of(record: CallRecord) -> list[tuple[str, bytes]]:
    """Returns the timeline and the pictures of one call, by name."""
    started = record.started
    folder = f"{started.stream}-{started.epoch}"
    pictures = [
        (f"{folder}/{seen.sequence:08d}.jpg", seen.pictures.jpeg)
        for seen in record.suspicious_frames.pictured if seen.pictures is not None
    ]
    timeline = msgspec.json.encode(timeline_of(record, (started.epoch,)))
    return [(f"{folder}/timeline.json", timeline), *pictures]
