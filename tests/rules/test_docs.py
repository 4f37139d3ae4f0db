"""Documents name only what exists: files, commands, options, settings and make targets."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, get_args

import pytest
import typer.main

from api.cli.main import app
from api.settings.reference import settings_table
from stream.events import Event
from tests.rules.source_tree import PACKAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from click import Command

HISTORY = {"CHANGELOG.md"}        # names what a release had
PAGES = sorted([*(page for page in ROOT.glob("*.md") if page.name not in HISTORY), *(ROOT / "docs").rglob("*.md")])
README_LINES = 120
ADR_SECTIONS = ["Context", "Decision", "Consequences"]
EVENT_TYPES = {str(event.__struct_config__.tag) for event in get_args(Event)}
OUTSIDE = {"DEEPGUARD_SCREENSHOTS"}       # read by tests alone


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def commands() -> dict[str, Command]:
    """Every command by its full name, such as `bench live`."""
    found: dict[str, Command] = {}

    def collect(prefix: str, command: Command) -> None:
        found[prefix] = command
        for name, child in getattr(command, "commands", {}).items():
            collect(f"{prefix} {name}".strip(), child)

    collect("", typer.main.get_command(app))
    return found


def options_of(command: Command) -> set[str]:
    return {"--help"} | {name for item in command.params for name in (*item.opts, *item.secondary_opts)}


def invocations(text: str) -> list[tuple[str, list[str]]]:
    """The command and the options of each `deepguard …` that a page shows as code."""
    joined = text.replace("\\\n", " ")
    spans = re.findall(r"`([^`\n]+)`", joined) + re.findall(r"^ {4,}(.+)$", joined, re.M)
    found = []
    for span in spans:
        for words in re.findall(r"(?:^|[\s/])deepguard((?: +[^\s|;&#]+)+)", span):
            parts = words.split()
            name = " ".join(parts[:2]) if " ".join(parts[:2]) in commands() else parts[0]
            found.append((name, re.findall(r"--[a-z][a-z-]*", words)))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    for name, options in invocations(page.read_text()):
        if not re.fullmatch(r"[a-z][a-z -]*", name):
            continue        # a placeholder, such as COMMAND
        assert name in commands(), f"deepguard {name}"
        assert set(options) <= options_of(commands()[name]), f"deepguard {name} {options}"


def test_the_readme_shows_commands() -> None:
    assert {name for name, _ in invocations((ROOT / "README.md").read_text())} >= {"publish", "watch", "score"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_and_folders_exist(page: Path) -> None:
    roots = "api|consumers|detector|stream|tests|tools|deploy|docs"
    named = re.findall(rf"`((?:{roots})/(?:[\w./-]*(?:\.\w+|/))?)`", page.read_text())
    assert not [name for name in named if not (ROOT / name).exists()]


def test_pages_that_the_code_names_exist() -> None:
    files = [path for name in (*PACKAGES, "tests", "tools", "deploy") for path in (ROOT / name).rglob("*")]
    texts = [path.read_text() for path in files if path.suffix in {".py", ".js", ".yml"}]
    named = {name for text in texts for name in re.findall(r"docs/[\w/-]+\.(?:md|yml|json)\b", text)}
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_and_their_names_exist(page: Path) -> None:
    named = set(re.findall(r"`((?:api|consumers|detector|stream|tests)(?:\.\w+)+)", page.read_text()))
    for name in named - EVENT_TYPES:
        path = ROOT / name.replace(".", "/")
        parent = path.parent.with_suffix(".py")
        is_module = path.with_suffix(".py").exists() or path.is_dir()
        assert is_module or (parent.exists() and re.search(rf"\b{path.name}\b", parent.read_text())), name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_exist(page: Path) -> None:
    known = {row.name for row in settings_table()} | OUTSIDE
    named = set(re.findall(r"\b(?:DEEPGUARD|KAFKA|LIVEKIT)_[A-Z_]+[A-Z]\b", page.read_text()))
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"(?:`|^ {4,})make ([a-z-]+)", page.read_text(), re.M)
    assert set(named) <= targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_anchors_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        linked = (page.parent / target) if target else page
        headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.M)
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs, f"{target}#{anchor}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "adr").glob("0*.md")), ids=lambda page: page.stem)
def test_decisions_have_one_form(page: Path) -> None:
    text = page.read_text()
    number = int(page.name[:4])
    assert re.match(rf"# {number}\. \S", text)
    assert re.search(r"^Status: (accepted|superseded by \[ADR \d+\]\(.+\))$", text, re.M)
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert [heading for heading in headings if heading != "Measured"] == ADR_SECTIONS
    assert f"({page.name})" in (page.parent / "README.md").read_text()
