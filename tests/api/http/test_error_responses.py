from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.errors import ApiError, Busy, RateLimited, Unauthorized, UploadRefused
from api.http.error_responses import error_response, problem_of
from stream.errors import MediaRefused, ServiceFull, StreamError

if TYPE_CHECKING:
    import httpx


def leaves(base: type[Exception]) -> list[type[Exception]]:
    return [base, *(leaf for child in base.__subclasses__() for leaf in leaves(child))]


def instance(kind: type[Exception]) -> Exception:
    """Builds an exception of this type."""
    for arguments in (("words",), ("code", "words"), (400, "code", "words"), ("words", 3), ()):
        try:
            return kind(*arguments)
        except TypeError:
            continue
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", leaves(StreamError) + leaves(ApiError), ids=lambda kind: kind.__name__)
def test_every_expected_error_has_a_client_or_capacity_status(kind: type[Exception]) -> None:
    problem = problem_of(instance(kind))
    assert 400 <= problem.status < 500 or problem.status == 503
    assert problem.code
    assert problem.message


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MediaRefused("truncated", "it ends early", 422), 422, "truncated"),
        (ServiceFull("full", 5), 503, "service_full"),
        (UploadRefused(413, "too_large", "too large"), 413, "too_large"),
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405), 405, "method_not_allowed"),
        (HTTPException(406), 406, "not_acceptable"),
        (ClientDisconnect(), 400, "client_gone"),
    ],
)
def test_status_and_code(error: Exception, status: int, code: str) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.code) == (status, code)


def test_a_validation_error_names_the_field() -> None:
    error = RequestValidationError([{"loc": ("query", "async"), "msg": "not a boolean", "type": "bool"}])
    assert problem_of(error).message == "query.async: not a boolean"


def test_an_unexpected_error_reveals_only_an_id() -> None:
    problem = problem_of(ZeroDivisionError("secret detail"))
    assert (problem.status, problem.code) == (500, "internal_error")
    assert "secret" not in problem.message
    assert len(problem.message.rpartition(" ")[2]) == 16


@pytest.mark.parametrize("error", [RateLimited("r", "slow", 7), Busy("b", "full", 7), ServiceFull("full", 7)])
def test_retry_after_is_a_header(error: Exception) -> None:
    response = error_response(problem_of(error))
    assert response.headers["retry-after"] == "7"
    assert list(json.loads(bytes(response.body))["error"]) == ["code", "message"]


def test_401_has_a_www_authenticate_header() -> None:
    assert error_response(problem_of(Unauthorized("u", "no"))).headers["www-authenticate"].startswith("Bearer")


def test_clients_that_accept_problem_details_get_them(client: httpx.Client) -> None:
    plain = client.get("/v1/streams/nobody")
    assert plain.headers["content-type"] == "application/json"
    assert plain.json()["error"]["code"] == "stream_unknown"
    for accept in ("application/problem+json", "application/json;q=0.5, Application/Problem+JSON"):
        told = client.get("/v1/streams/nobody", headers={"Accept": accept})
        assert told.headers["content-type"] == "application/problem+json"
        assert told.json() == {
            "type": "about:blank", "title": "Not Found", "status": 404, "detail": plain.json()["error"]["message"],
            "code": "stream_unknown",
        }
    foreign = {"Accept": "application/problem+json", "Origin": "https://x.test"}
    refused = client.post("/v1/streams", json={}, headers=foreign)
    assert (refused.status_code, refused.json()["code"]) == (403, "origin_refused")
