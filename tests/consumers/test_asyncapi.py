"""`docs/contracts/asyncapi.yml` and `events.schema.json` match the code.

    python -m tests.consumers.test_asyncapi      regenerates the schema
"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from api.settings.base import Settings
from consumers.broker import PartitionId, Record
from consumers.dead_letters import Cause, dead_letter
from consumers.media_contract import (
    KIND_OF,
    TYPE_PREFIX,
    ClaimCheck,
    ContentType,
    EndOfStream,
    Item,
    Kind,
    Media,
    RecordIdentity,
    encode,
)
from consumers.verdict_records import state_message, verdict_message
from stream.events import Event
from stream.identity import STREAM_ID
from tests.consumers.verdicts_support import ended, verdict

if TYPE_CHECKING:
    from consumers.broker import Headers

CONTRACTS = Path(__file__).resolve().parents[2] / "docs" / "contracts"
SCHEMA = CONTRACTS / "events.schema.json"
STAMP = RecordIdentity("call-7", 1_700_000_000, 3, 1_700_000_000.5)


def api() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONTRACTS / "asyncapi.yml").read_text())
    return found


def schema() -> str:
    return json.dumps(msgspec.json.schema(Event), indent=2, sort_keys=True) + "\n"


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Returns the required names and the properties of a schema and its parts."""
    if "$ref" in node:
        return resolved(api()["components"]["schemas"][node["$ref"].rpartition("/")[2]])
    required, properties = list(node.get("required", ())), dict(node.get("properties", {}))
    for part in map(resolved, node.get("allOf", ())):
        required += part["required"]
        properties |= part["properties"]
    return {"required": required, "properties": properties}


def header_schema(kind: str) -> dict[str, Any]:
    return resolved(api()["components"]["messages"][kind]["headers"])


def fits(headers: Headers, rules: dict[str, Any]) -> bool:
    """Returns whether headers match the documented names and formats."""
    given = {name: (value or b"").decode() for name, value in headers}
    assert set(rules["required"]) <= set(given)
    for name, rule in rules["properties"].items():
        if name in given:
            assert given[name] == rule.get("const", given[name]), name
            assert given[name] in rule.get("enum", [given[name]]), name
            assert re.search(rule.get("pattern", ""), given[name]), name
    return True


def items() -> list[Item]:
    media: list[Item] = [
        Media(STAMP, content, 9, Fraction(1, 90_000), b"payload")
        for content, kind in KIND_OF.items() if kind is not Kind.EOS
    ]
    first = media[0]
    assert isinstance(first, Media)
    away = Media(STAMP, first.content_type, 9, Fraction(1, 90_000), b"")
    return [*media, ClaimCheck(away, "https://example.org/a", "0" * 64), EndOfStream(STAMP)]


@pytest.mark.parametrize("item", items(), ids=repr)
def test_media_has_the_documented_headers(item: Item) -> None:
    headers = encode(item).headers
    kind = dict(headers)["ce_type"] or b""
    assert fits(headers, header_schema(kind.decode().removeprefix(TYPE_PREFIX)))


def test_exactly_the_supported_kinds_and_content_types_are_documented() -> None:
    for kind in Kind:
        rules = header_schema(kind)["properties"]
        assert rules["ce_type"]["const"] == TYPE_PREFIX + kind
        assert set(rules["content-type"]["enum"]) == {content for content, of in KIND_OF.items() if of is kind}
    assert set(api()["channels"]["media"]["messages"]) == set(Kind)
    contents = [content for kind in Kind for content in header_schema(kind)["properties"]["content-type"]["enum"]]
    assert sorted(contents) == sorted(ContentType)
    assert header_schema("frame")["properties"]["ce_partitionkey"]["pattern"] == f"^{STREAM_ID}$"


def test_output_has_the_documented_headers() -> None:
    assert fits(verdict_message("verdicts", 0, verdict("a", 1)).headers, header_schema("verdict"))
    assert fits(state_message("stream-state", 0, ended("a")).headers, header_schema("state"))
    letter = dead_letter("media.dlq", "g", Record(PartitionId("media", 0), 1, 2, b"k", b"v", ()), Cause("a", "b", "c"))
    assert {name for name, _ in letter.headers} == set(header_schema("deadLetter")["required"])


def test_documented_topics_match_the_settings() -> None:
    channels = api()["channels"]
    found = {name: channels[name]["address"] for name in ("media", "verdicts", "states", "deadLetters")}
    fields = Settings.model_fields
    assert list(found.values()) == [
        fields[f"kafka_{name}_topic"].default for name in ("media", "verdicts", "state", "dlq")
    ]


def test_references_resolve() -> None:
    text = (CONTRACTS / "asyncapi.yml").read_text()
    for target in re.findall(r'\$ref: "([^"]+)"', text):
        path, _, pointer = target.partition("#/")
        node = json.loads((CONTRACTS / path).read_text()) if path else api()
        for part in pointer.split("/"):
            node = node[part]


def test_the_event_schema_matches_the_code() -> None:
    assert SCHEMA.read_text() == schema()


if __name__ == "__main__":
    SCHEMA.write_text(schema())
