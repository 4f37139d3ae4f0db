"""What must (not) stand in the repository."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.rules.source_tree import PACKAGES, ROOT

TOP_LEVEL = {
    "pyproject.toml", "stream", "detector", "api", "consumers", "docker-compose.yml", "tests", "README.md", "Makefile",
    "Dockerfile", "docs", "deploy", "changelog.d", ".ci", "requirements.lock", "requirements-test.lock", "LICENSE",
    "NOTICE", ".gitignore", ".dockerignore", "tools", "clients", "CHANGELOG.md", "CONTRIBUTING.md",
}
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".lock", ".js", ".css", ".html", ".json", ".sh", ""}


@cache
def tracked() -> tuple[Path, ...]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return tuple(ROOT / name for name in listed.split("\0") if name)


def texts() -> list[Path]:
    return [path for path in tracked() if path.suffix in TEXT and path.is_file()]


def test_the_top_level_is_the_one_agreed_on() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP_LEVEL


def test_locks_have_hashes_and_no_index_address() -> None:
    for name in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index-url" not in text
        pins = re.findall(r"^[a-z0-9.\-\[\]]+==", text, re.M)
        assert len(pins) >= 30
        assert text.count("--hash=sha256:") >= len(pins)


def test_both_locks_agree() -> None:
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9.\-]+)==(\S+)", (ROOT / name).read_text(), re.M))

    serve, everything = pins("requirements.lock"), pins("requirements-test.lock")
    assert {k: everything.get(k) for k in serve} == serve
    assert "tensorflow" not in serve
    assert "mtcnn" not in serve


def test_no_path_of_a_machine_stands_in_a_file() -> None:
    pattern = re.compile(r"(?<![\w.])/(work|root|home)/\w")
    assert not [str(p.relative_to(ROOT)) for p in texts() if p != Path(__file__) and pattern.search(p.read_text())]


def test_packages_are_listed_explicitly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == [f"{package}*" for package in PACKAGES]
    assert project["project"]["name"] == "deepguard"


def test_weights_are_within_their_size() -> None:
    sizes = {p.name: p.stat().st_size for p in (ROOT / "detector" / "weights").iterdir()}
    assert all(size <= 45_000_000 for size in sizes.values())
    assert json.loads((ROOT / "detector" / "weights" / "manifest.json").read_text())


def test_links_in_the_docs_lead_somewhere() -> None:
    links = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in texts()
        if page.suffix == ".md"
        for target in links.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_ruff_is_clean() -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["docker-compose.yml", "deploy/single.yml"])
def test_the_compose_files_ask_for_keys(name: str) -> None:
    compose = yaml.safe_load((ROOT / name).read_text())
    environment = compose["services"]["deepguard"]["environment"]
    assert environment["DEEPGUARD_API_KEYS"].startswith("${DEEPGUARD_API_KEYS:?")


def test_the_image_is_slim_unprivileged_and_without_tensorflow() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    serving = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM")):]
    assert serving[0].endswith("-slim")
    assert any(line.startswith("USER ") and "root" not in line for line in serving)
    assert any("PORT=8080" in line for line in serving)
    assert not any("requirements-test" in line or "[train]" in line for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mypy_is_clean() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
