"""Checks the locked dependencies for known vulnerabilities with pip-audit: `make audit`.

Exit status: 0 if none is known, or if no advisory source can be reached, which is printed; 1 for a vulnerability, or if
pip-audit itself fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-test.lock")
TIMEOUT_S = 300


def say(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(program: str) -> int:
    """Audits every lock with this pip-audit program; returns the exit status."""
    found = [line for lock in LOCKS for line in audit(program, lock)]
    for line in found:
        say(line)
    return 1 if found else 0


def audit(program: str, lock: str) -> list[str]:
    """Returns one line per known vulnerability; prints why packages could not be audited."""
    command = [program, "-r", str(ROOT / lock), "--disable-pip", "--progress-spinner", "off", "-f", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        say(f"{lock}: not audited: the advisory source did not answer within {TIMEOUT_S} s")
        return []
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return unreadable(lock, done.stderr)
    skipped = [package for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        say(f"{lock}: not audited: no advisory source can be reached ({skipped[0]['skip_reason']})")
    else:
        say(f"{lock}: {len(packages) - len(skipped)} packages audited, {len(skipped)} unknown to the advisory source")
    return [
        f"{lock}: {package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions'])}"
        for package in packages for flaw in package.get("vulns", ())
    ]


def unreadable(lock: str, told: str) -> list[str]:
    """Returns a line for a failed pip-audit, or none if it only could not connect, which is printed."""
    if "ConnectionError" in told or "Max retries" in told or "connect" in told.lower():
        say(f"{lock}: not audited: no advisory source can be reached")
        return []
    return [f"{lock}: pip-audit failed: {(told.strip().splitlines() or ['no output'])[-1]}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
