"""Dead letters of webhooks: list, retry, delete."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.errors import NotFound
from api.routes.context import context_of
from api.routes.dependencies import require_key
from api.routes.incident_schemas import DeadLetters
from api.routes.json_answers import NO_STORE, described, json_response
from api.routes.schemas import ErrorAnswer

Number = Annotated[int, Path(ge=1, lt=2**63)]

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: described(ErrorAnswer)}

router = APIRouter(prefix="/v1/webhooks", tags=["incidents"], dependencies=[Depends(require_key)])


@router.get("/dead", responses={200: described(DeadLetters)})
async def list_dead(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
) -> Response:
    """Lists abandoned messages, oldest first: undelivered after three days, or refused by the target with 410."""
    incidents = context_of(request).incidents
    found = await incidents.run_in_thread(incidents.outbox.dead, limit + 1, after)
    page = found[:limit]
    next_after = page[-1].id if len(found) > limit else None
    return json_response(DeadLetters(dead=page, next=next_after), headers=NO_STORE)


@router.post("/dead/{letter_id}/retry", status_code=202, responses=_UNKNOWN)
async def retry_dead(request: Request, letter_id: Number) -> Response:
    """Queues a dead letter again with the same message id, from the first attempt."""
    incidents = context_of(request).incidents
    if not await incidents.run_in_thread(incidents.outbox.retry, letter_id):
        raise NotFound("message_unknown", "no such dead letter; it may have been retried or deleted")
    incidents.wake_webhooks()
    return Response(status_code=202)


@router.delete("/dead/{letter_id}", status_code=204, responses=_UNKNOWN)
async def drop_dead(request: Request, letter_id: Number) -> Response:
    """Deletes a dead letter."""
    incidents = context_of(request).incidents
    if not await incidents.run_in_thread(incidents.outbox.drop, letter_id):
        raise NotFound("message_unknown", "no such dead letter; it may have been retried or deleted")
    return Response(status_code=204)
