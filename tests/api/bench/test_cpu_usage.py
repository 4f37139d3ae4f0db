"""What processes and the machine use."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from api.bench.cpu_usage import BenchProcesses, cores, machine_facts

SPIN = "import time\nprint(flush=True)\nend = time.process_time() + 60\nwhile time.process_time() < end: pass"


def test_cpu_and_memory_are_measured_by_part() -> None:
    with subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE) as busy:
        try:
            assert busy.stdout is not None
            busy.stdout.readline()      # before, it is a copy of this process that has not begun
            parts = BenchProcesses(os.getpid(), (busy.pid,))
            parts.sample_memory()
            before, own_s = parts.cpu(), time.process_time()
            time.sleep(0.5)
            own_s = time.process_time() - own_s
            usage = before.until(parts.cpu())
        finally:
            busy.kill()
    assert usage.seconds >= 0.5
    assert 0.05 < usage.cores["publishers"] < 1.1           # it may have to share its core
    # the same process: a child of "the service"
    assert usage.cores["workers"] == pytest.approx(usage.cores["publishers"], abs=0.1)      # read a clock tick apart
    assert usage.cores["api"] * usage.seconds >= own_s * 0.5 - 0.02
    assert usage.others >= 0
    assert parts.memory.peak_mb["api"] > 20
    assert parts.memory.peak_mb["publishers"] > 2
    assert parts.memory.first_mb == parts.memory.last_mb == parts.memory.peak_mb, "looked once"


def test_the_machine_is_described() -> None:
    facts = machine_facts()
    assert facts["cores"] == cores() >= 1
    assert facts["cpu"]
    assert facts["memory_mb"] > 100
