"""Evidence at rest: unreadable in the database, readable with any of the keys, and bound to its incident and name."""

from __future__ import annotations

import base64
import io
import os
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from api.errors import EvidenceLocked, SettingsRefused
from api.incidents.evidence_cipher import EvidenceCipher
from api.incidents.evidence_files import case_of, files_of
from api.incidents.incident_queries import IncidentQueries
from api.incidents.incident_store import IncidentStore
from api.incidents.tables import files
from api.settings.base import load_settings
from tests.api.rig import running_rig
from tests.api.routes.test_files import until
from tests.stream.cases import opened_case

if TYPE_CHECKING:
    from api.incidents.database import Database

OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))


@given(st.binary(max_size=200), st.text(max_size=20), st.text(max_size=20))
def test_what_is_sealed_is_unsealed_in_its_place_alone(content: bytes, incident: str, name: str) -> None:
    cipher = EvidenceCipher([NEW, OLD])
    sealed = EvidenceCipher([OLD]).seal(incident, name, content)
    assert cipher.unseal(incident, name, sealed) == content
    assert EvidenceCipher([NEW]).seal(incident, name, content) != EvidenceCipher([NEW]).seal(incident, name, content)
    for place in ((incident + "x", name), (incident, name + "x")):
        with pytest.raises(EvidenceLocked, match="changed"):
            cipher.unseal(*place, sealed)
    with pytest.raises(EvidenceLocked, match="DEEPGUARD_EVIDENCE_KEYS"):
        EvidenceCipher([OTHER]).unseal(incident, name, sealed)
    with pytest.raises(EvidenceLocked):
        cipher.unseal(incident, name, sealed[:-1])


def test_the_database_holds_no_byte_of_the_evidence(database: Database) -> None:
    case = opened_case()
    IncidentStore(database, cipher=EvidenceCipher([NEW])).save(case)
    with database.reading() as connection:
        stored = b"".join(connection.execute(select(files.c.content)).scalars())
    for file in files_of(case):
        assert file.content[:64] not in stored
    records = IncidentQueries(database, EvidenceCipher([OTHER, NEW]))
    assert msgspec.structs.replace(case_of(records.contents(case.id)), pictured=case.pictured) == case
    details = records.get(case.id)
    assert details is not None
    for info in details.files:
        found = records.content(case.id, info.name)
        assert found is not None
        assert len(found[1]) == info.size_bytes
    with pytest.raises(EvidenceLocked):
        IncidentQueries(database).contents(case.id)


def test_evidence_that_was_exchanged_in_the_database_is_not_shown(database: Database) -> None:
    one, two = opened_case("one"), opened_case("two")
    cipher = EvidenceCipher([NEW])
    store = IncidentStore(database, cipher=cipher)
    store.save(one)
    store.save(two)
    with database.writing() as connection:
        swapped = connection.execute(
            select(files.c.content).where(files.c.incident_id == two.id, files.c.name == "case.json")
        ).scalar_one()
        connection.execute(
            update(files).where(files.c.incident_id == one.id, files.c.name == "case.json").values(content=swapped)
        )
    with pytest.raises(EvidenceLocked, match="changed"):
        IncidentQueries(database, cipher).content(one.id, "case.json")


def test_evidence_from_before_the_first_key_stays_readable(database: Database) -> None:
    case = opened_case()
    IncidentStore(database).save(case)
    assert case_of(IncidentQueries(database, EvidenceCipher([NEW])).contents(case.id)).origin == case.origin


@pytest.mark.parametrize("keys", ["short", "A" * 44, base64.b64encode(bytes(31)).decode(), "é" * 43 + "="])
def test_a_key_of_another_form_is_refused_and_not_shown(keys: str) -> None:
    with pytest.raises(SettingsRefused, match=r"^DEEPGUARD_EVIDENCE_KEYS: expected base64 of 32 bytes") as refused:
        load_settings(evidence_keys=keys)
    assert keys not in str(refused.value)


@pytest.mark.timeout(90)
def test_a_service_encrypts_with_its_key_and_says_when_it_has_another(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/incidents.sqlite"
    key, other = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    case = msgspec.structs.replace(opened_case("sealed"), opened_s=time.time())
    with running_rig(database_url=url, evidence_keys=key) as rig, rig.client() as client:
        rig.call(rig.context.service.event_sink.alarm, case)
        until(lambda: client.get(f"/v1/incidents/{case.id}").status_code == 200)
        path = f"/v1/incidents/{case.id}/evidence/frames/{case.pictured[0].sequence:08d}.jpg"
        picture = client.get(path).content
        assert picture.startswith(b"\xff\xd8")
        assert client.get(f"/v1/incidents/{case.id}/export").status_code == 200
    stored = b"".join(file.read_bytes() for file in Path(tmp_path).iterdir() if file.is_file())
    assert picture[200:264] not in stored
    with running_rig(database_url=url, evidence_keys=other) as rig, rig.client() as client:
        assert client.get(f"/v1/incidents/{case.id}").status_code == 200
        for refused in (client.get(path), client.get(f"/v1/incidents/{case.id}/export")):
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "evidence_locked")
        kept = client.get("/v1/participants/somebody/export").content
    with zipfile.ZipFile(io.BytesIO(kept)) as archive:
        assert b"DEEPGUARD_EVIDENCE_KEYS" in archive.read(f"incidents/{case.id}.locked.txt")
