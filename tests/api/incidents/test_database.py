from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

import api.incidents.database
from api.errors import SettingsRefused
from api.incidents.database import Database, migrate
from api.incidents.evidence_files import case_of
from api.incidents.incident_queries import IncidentQueries
from api.incidents.incident_store import IncidentStore
from api.incidents.tables import metadata
from tests.stream.cases import opened_case


def test_the_migrations_lead_to_the_tables_that_the_code_uses(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_database_is_opened_again_as_it_was(database: Database, database_url: str) -> None:
    with database.writing() as connection:
        connection.execute(text("INSERT INTO secrets (name, content) VALUES ('a', 'b')"))
    again = Database(database_url)
    with again.reading() as connection:
        assert connection.execute(text("SELECT name FROM secrets")).scalars().all() == ["a"]
    again.close()


def test_incidents_of_an_older_version_are_kept_and_not_held(database: Database) -> None:
    store = IncidentStore(database)
    case = opened_case()
    store.save(case)
    config = Config()
    config.set_main_option("script_location", str(Path(api.incidents.database.__file__).with_name("migrations")))
    with database._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    with database.reading() as connection:
        assert "held" not in {column["name"] for column in inspect(connection).get_columns("incidents")}
    migrate(database._engine)
    details = IncidentQueries(database).get(case.id)
    assert details is not None
    assert not details.incident.held
    assert case_of(IncidentQueries(database).contents(case.id)).origin == case.origin


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.writing() as connection:
            connection.execute(text("INSERT INTO secrets (name, content) VALUES ('a', 'b')"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM secrets")).scalar() == 0


def test_a_database_of_a_newer_version_is_refused(database: Database, database_url: str) -> None:
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsRefused, match=r"DEEPGUARD_DATABASE_URL: .*9999"):
        Database(database_url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://a/b", "expected sqlite"), ("sqlite://", "expected sqlite"), ("nonsense", "parse"),
        ("postgresql://me:hush-hush@127.0.0.1:1/x", "refused"),
        ("postgresql://me:a/hush-hush@127.0.0.1:1/x", "refused"),
        ("postgresql://me:x@hush-hush@127.0.0.1:1/x", "(expected sqlite|refused)"),
        ("postgresql://me:hush-hush@127.0.0.1:port/x", "expected sqlite"),
        ("sqlite:////proc/nowhere/x.sqlite", "No such file"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_without_its_password(url: str, told: str) -> None:
    with pytest.raises(SettingsRefused, match=rf"^DEEPGUARD_DATABASE_URL: .*{told}") as refused:
        Database(url)
    assert "hush-hush" not in str(refused.value)


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text("something else " * 100)
    with pytest.raises(SettingsRefused, match="not a database"):
        Database(f"sqlite:///{tmp_path}/x.sqlite")


def test_others_on_this_machine_cannot_read_it(tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path}/new/x.sqlite").close()
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / "x.sqlite").stat().st_mode & 0o077 == 0
