"""`deepguard doctor`: checks of the configuration, the model, the network and a running service."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.terminal import EXIT_INCOMPLETE, key_from_stdin, run
from api.settings.base import Settings, load_settings

if TYPE_CHECKING:
    from api.diagnostics.local_checks import Finding

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(
    *,
    url: Annotated[
        str | None, typer.Option(help="URL of a running service to test with a call; without it, none is contacted.")
    ] = None,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the API key from the first line of standard input.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Checks the installation, the network and a service. Names a remedy for every problem.

    Exit status: 1 if a check failed, otherwise 0.
    """
    from api.diagnostics.local_checks import worst_of

    def work() -> None:
        settings = load_settings(log_dir="")
        key = key_from_stdin() if key_stdin else ""
        findings = asyncio.run(_examine(settings, url.rstrip("/") if url else None, key))
        for finding in findings:
            typer.echo(json.dumps(finding._asdict()) if as_json else _line(finding))
        if worst_of(findings) == "fail":
            raise typer.Exit(EXIT_INCOMPLETE)

    run(work)


async def _examine(settings: Settings, url: str | None, key: str) -> list[Finding]:
    from api.app import ice_servers
    from api.diagnostics.local_checks import (
        check_addresses,
        check_brokers,
        check_codecs,
        check_exposure,
        check_model,
        check_ports,
    )
    from api.diagnostics.network_checks import check_call, check_ice_servers, check_service

    findings = [check_exposure(settings), check_model(settings), check_codecs(), check_addresses(settings)]
    findings.append(check_ports(settings))
    findings += await check_ice_servers(ice_servers(settings))
    findings.append(await check_brokers(settings))
    if url is not None:
        findings += await check_service(url)
        if findings[-1].level == "ok":
            findings.append(await check_call(url, key))
    return findings


def _line(finding: Any) -> str:
    remedy = f"\n{'':17}-> {finding.remedy}" if finding.remedy else ""
    return f"{_MARKS[finding.level]}  {finding.what:<10} {finding.said}{remedy}"
