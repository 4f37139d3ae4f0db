"""A service whose incident database fails: every route says so, no alarm is lost, and all is well afterwards."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from sqlalchemy.exc import DataError

from api.incidents import lifecycle
from api.incidents.database import Database
from api.incidents.incident_queries import IncidentQueries
from api.incidents.incident_store import IncidentStore
from tests.api.incidents.storage_faults import PostgresFaults, SqliteFaults
from tests.api.rig import Rig, running_rig
from tests.api.routes.test_files import until
from tests.api.routes.test_metrics import figures
from tests.stream.cases import opened_case, over

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from stream.incident_case import IncidentCase
    from tests.postgres import LocalPostgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE_S = 40.0


class Site(NamedTuple):
    """A service on a database, and the faults that can be made in it."""

    rig: Rig
    faults: SqliteFaults | PostgresFaults


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    patched = pytest.MonkeyPatch()
    patched.setattr(lifecycle, "_FAULT_INTERVAL_S", 0.5)
    patched.setattr(lifecycle, "MAINTENANCE_INTERVAL_S", 0.5)
    patched.setattr(lifecycle, "_ANSWER_S", 8.0)
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("database") / "mounted" / "incidents.sqlite"
        with running_rig(database_url=f"sqlite:///{path}") as rig:
            yield Site(rig, SqliteFaults(path, rig.context.incidents.queries._database._engine))
    else:
        server: LocalPostgres = request.getfixturevalue("postgres")
        url = server.new_database()
        with running_rig(database_url=url) as rig:
            yield Site(rig, PostgresFaults(server, url))
    patched.undo()


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with site.rig.client() as client:
        yield client


def alarm(rig: Rig, stream: str) -> IncidentCase:
    case = msgspec.structs.replace(opened_case(stream), opened_s=time.time())
    rig.call(rig.context.incidents.publisher.alarm, case)
    return case


def stored(client: httpx.Client, case: IncidentCase) -> None:
    until(lambda: client.get(f"/v1/incidents/{case.id}").status_code == 200, PATIENCE_S)


@pytest.mark.parametrize(("site", "fault"), [
    *(("sqlite", fault) for fault in ("locked", "read_only", "full", "gone", "slow")),
    *(("postgresql", fault) for fault in ("locked", "read_only", "full", "gone", "slow")),
], indirect=["site"])  # fmt: skip
def test_a_fault_is_told_and_outlived(site: Site, client: httpx.Client, fault: str) -> None:
    before = alarm(site.rig, f"before-{fault}")
    stored(client, before)
    with getattr(site.faults, fault)():
        during = alarm(site.rig, f"during-{fault}")
        answers = [client.request(method, path, json=body) for method, path, body in requests(before)]
        refused = [answer for answer in answers if answer.status_code == 503]
        assert {answer.status_code for answer in answers} <= {200, 204, 503}, [answer.text for answer in answers]
        assert {answer.json()["error"]["code"] for answer in refused} == {"storage_unavailable"}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
        until(lambda: client.get("/readyz").json()["reasons"] == ["no_storage"], PATIENCE_S)
        assert figures(client.get("/metrics").text)["deepguard_incidents_waiting"] == 1
    stored(client, during)
    until(lambda: client.get("/readyz").status_code == 200, PATIENCE_S)
    assert figures(client.get("/metrics").text)["deepguard_incidents_waiting"] == 0
    assert figures(client.get("/metrics").text)["deepguard_incidents_lost_total"] == 0


def requests(case: IncidentCase) -> list[tuple[str, str, dict[str, str] | None]]:
    """Returns requests to every route that needs the database; of two long notes, every fault refuses the second."""
    one = f"/v1/incidents/{case.id}"
    note = ("POST", f"{one}/review", {"decision": "note", "note": "n" * 4000})
    return [
        note, note, ("GET", "/v1/incidents", None),
        ("GET", one, None), ("GET", f"{one}/export", None), ("GET", f"{one}/evidence/case.json", None),
        ("GET", "/v1/webhooks/dead", None),
        ("GET", "/v1/participants/nobody/export", None), ("DELETE", "/v1/participants/nobody", None),
    ]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), [
    ("GET", "/v1/incidents/a%00b", None), ("DELETE", "/v1/incidents/a%00b", None),
    ("GET", "/v1/incidents/a%00b/export", None), ("GET", "/v1/incidents/inc_1/evidence/a%00b", None),
    ("GET", "/v1/incidents?stream=a%00b", None), ("GET", "/v1/incidents?call_id=%00", None),
    ("GET", "/v1/incidents?participant_id=%00", None), ("GET", "/v1/participants/a%00b/export", None),
    ("DELETE", "/v1/calls/a%00b", None),
    ("GET", "/v1/incidents?cursor=MTAwMC4wIGEAYg", None),
    ("POST", "/v1/incidents/inc_1/review", {"decision": "note", "note": "a\0b"}),
    ("POST", "/v1/incidents/inc_1/review", {"decision": "note", "by": "a\0b"}),
    ("POST", "/v1/incidents/inc_1/review", {"decision": "note", "note": "\ud800"}),
])  # fmt: skip
@pytest.mark.parametrize("site", ["sqlite", "postgresql"], indirect=True)
def test_text_that_no_database_stores_is_refused(
    client: httpx.Client, method: str, path: str, body: dict[str, str] | None
) -> None:
    content = None if body is None else json.dumps(body)     # httpx itself refuses half of a surrogate pair
    answer = client.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_an_alarm_with_nul_in_its_names_is_stored(database: Database) -> None:
    store = IncidentStore(database)
    opened = store.save(opened_case("a\0b"))
    assert opened is not None
    details = IncidentQueries(database).get(opened.id)
    assert details is not None
    assert details.incident.stream == "a\ufffdb"
    assert len(store.close(over(opened_case("a\0b")))) == 1


def test_a_value_that_the_database_refuses_is_no_fault_of_the_database(postgres: LocalPostgres) -> None:
    database = Database(postgres.new_database())
    with pytest.raises(DataError):
        IncidentQueries(database).get("\0")
    assert database.fault == ""
    database.close()
