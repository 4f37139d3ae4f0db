"""`GET /v1/policy`: the alarm rule that follows from the operator's false-alarm rate."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from api.routes.context import context_of
from api.routes.dependencies import require_key
from api.routes.json_answers import described, json_response
from api.routes.schemas import PolicyAnswer

router = APIRouter(prefix="/v1", tags=["policy"], dependencies=[Depends(require_key)])


@router.get("/policy", responses={200: described(PolicyAnswer)})
async def get_policy(request: Request) -> Response:
    """Returns the alarm rule: the false-alarm rate, the alarm limit that keeps it, and the expected delay.

    `expected_delay_s` is null if the model cannot raise alarms at this rate. All fields that depend on the model are
    null if none is loaded or its evidence was not measured.
    """
    context = context_of(request)
    service, settings = context.service, context.settings
    policy, evidence = service.policy(), service.evidence()
    return json_response(PolicyAnswer(
        false_alarms_per_hour=settings.false_alarms_per_hour,
        miss_rate=settings.miss_rate,
        limit=policy.limit if policy else None,
        clear_bound=policy.clear_bound if policy else None,
        reference_llr=policy.reference_llr if policy else None,
        expected_delay_s=policy.delay_s if policy else None,
        evidence=evidence,
    ))
