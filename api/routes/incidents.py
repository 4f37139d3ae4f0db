"""IncidentService: list, look at, review, export, delete."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.errors import NotFound
from api.http.auth import Caller
from api.incidents import incident_queries
from api.incidents.export_bundle import pack
from api.incidents.incident_queries import Details, PagePosition, decode_cursor, encode_cursor
from api.incidents.lifecycle import IncidentService
from api.incidents.signed_urls import evidence_path
from api.routes.context import context_of
from api.routes.dependencies import require_key
from api.routes.incident_schemas import FileAnswer, IncidentDetails, IncidentList, ReviewRequest
from api.routes.json_answers import NO_STORE, described, json_response
from api.routes.schemas import ErrorAnswer

# PostgreSQL refuses NUL in text.
_TEXT = r"^[^\x00]*$"
IncidentId = Annotated[str, Path(max_length=40, pattern=_TEXT)]

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: described(ErrorAnswer)}

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])
keyed = [Depends(require_key)]


class Filters(BaseModel):
    """Filters of the incident list. `since` and `until` are Unix seconds."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["open", "closed"] | None = None
    review: incident_queries.Review | None = None
    stream: str | None = Field(None, max_length=200, pattern=_TEXT)
    call_id: str | None = Field(None, max_length=200, pattern=_TEXT)
    participant_id: str | None = Field(None, max_length=200, pattern=_TEXT)
    text: str | None = Field(None, max_length=200, pattern=_TEXT)
    since: float | None = Field(None, allow_inf_nan=False)
    until: float | None = Field(None, allow_inf_nan=False)
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=200)

    def query(self) -> incident_queries.IncidentQuery:
        """Returns the query, with one extra row to detect a next page. Raises Unprocessable for an invalid cursor."""
        return incident_queries.IncidentQuery(
            limit=self.limit + 1, after=decode_cursor(self.cursor) if self.cursor is not None else None,
            is_open=None if self.state is None else self.state == "open", review=self.review, stream=self.stream,
            call_id=self.call_id, participant_id=self.participant_id, text=self.text, since_s=self.since,
            until_s=self.until,
        )


@router.get("", responses={200: described(IncidentList), 422: described(ErrorAnswer)}, dependencies=keyed)
async def list_incidents(request: Request, filters: Annotated[Filters, Query()]) -> Response:
    """Lists incidents, newest first. Pass `next` as `cursor` for the next page."""
    incidents = context_of(request).incidents
    found = await incidents.run_in_thread(incidents.queries.list, filters.query())
    page = found[:filters.limit]
    next_cursor = encode_cursor(PagePosition(page[-1].opened_s, page[-1].id)) if len(found) > len(page) else None
    return json_response(IncidentList(incidents=page, next=next_cursor), headers=NO_STORE)


@router.get("/{incident_id}", responses={**_UNKNOWN, 200: described(IncidentDetails)}, dependencies=keyed)
async def get_incident(request: Request, incident_id: IncidentId) -> Response:
    """Returns one incident with its notes and the list of its evidence files."""
    incidents = context_of(request).incidents
    return json_response(_with_evidence(await _details(incidents, incident_id), incidents), headers=NO_STORE)


@router.post("/{incident_id}/review", responses={**_UNKNOWN, 200: described(IncidentDetails)})
async def review_incident(
    request: Request, incident_id: IncidentId, body: ReviewRequest, caller: Annotated[Caller, Depends(require_key)]
) -> Response:
    """Confirms, dismisses or reopens an incident, sets or releases a legal hold, or adds a note. Steps are stored."""
    incidents = context_of(request).incidents
    by = f"{body.by} ({caller.identity})" if body.by else caller.identity
    note = incident_queries.note_of(by, body.decision, body.note)
    details = await incidents.run_in_thread(incidents.queries.review, incident_id, note)
    if details is None:
        raise _unknown()
    return json_response(_with_evidence(details, incidents), headers=NO_STORE)


@router.get(
    "/{incident_id}/evidence/{name:path}", responses={**_UNKNOWN, 200: {"content": {"image/jpeg": {}}}, 304: {}},
    response_class=Response,
)
async def get_evidence(
    request: Request, incident_id: IncidentId, name: Annotated[str, Path(max_length=200, pattern=_TEXT)],
    expires: Annotated[str, Query(max_length=20)] = "", signature: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Returns one evidence file. Needs an API key or a signed URL from `GET /v1/incidents/{id}`."""
    incidents = context_of(request).incidents
    if not incidents.urls.is_valid(
        evidence_path(incident_id, name), expires=expires, signature=signature, now_s=time.time()
    ):
        await require_key(request)
    found = await incidents.run_in_thread(incidents.queries.content, incident_id, name)
    if found is None:
        raise NotFound("file_unknown", "no such evidence file or incident")
    info, content = found
    headers = {
        "ETag": f'"{info.sha256}"', "Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"
    }
    if headers["ETag"] in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=info.media_type, headers=headers)


@router.get(
    "/{incident_id}/export", responses={**_UNKNOWN, 200: {"content": {"application/zip": {}}}},
    response_class=Response, dependencies=keyed,
)
async def export_incident(request: Request, incident_id: IncidentId) -> Response:
    """Returns the incident with its evidence as a zip for `deepguard replay`."""
    incidents = context_of(request).incidents
    details = await _details(incidents, incident_id)
    contents = await incidents.run_in_thread(incidents.queries.contents, incident_id)
    packed = await incidents.run_in_thread(pack, details, contents, time.time())
    headers = {"Content-Disposition": f'attachment; filename="{incident_id}.zip"', "Cache-Control": "no-store"}
    return Response(packed, media_type="application/zip", headers=headers)


@router.delete(
    "/{incident_id}", status_code=204, responses={**_UNKNOWN, 409: described(ErrorAnswer)}, dependencies=keyed
)
async def delete_incident(request: Request, incident_id: IncidentId) -> Response:
    """Deletes an incident with its evidence permanently, unless it is under a legal hold."""
    incidents = context_of(request).incidents
    if not await incidents.run_in_thread(incidents.queries.delete, incident_id):
        raise _unknown()
    return Response(status_code=204)


async def _details(incidents: IncidentService, incident_id: str) -> Details:
    details = await incidents.run_in_thread(incidents.queries.get, incident_id)
    if details is None:
        raise _unknown()
    return details


def _with_evidence(details: Details, incidents: IncidentService) -> IncidentDetails:
    now_s = time.time()
    incident = details.incident
    evidence = (
        FileAnswer(
            **msgspec.structs.asdict(file), url=incidents.urls.url(evidence_path(incident.id, file.name), now_s)
        )
        for file in details.files
    )
    return IncidentDetails(**msgspec.structs.asdict(incident), notes=details.notes, evidence=tuple(evidence))


def _unknown() -> NotFound:
    return NotFound("incident_unknown", "no such incident; it may have been deleted")
