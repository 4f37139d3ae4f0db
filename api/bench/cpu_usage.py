"""CPU and memory by part of the bench, and of the machine around it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

_MIB = 2**20


class CpuUsage(NamedTuple):
    """Between two moments, in cores (1.0 is one core busy all the time), by part. `others` is what else ran on the
    machine, `niced` what ran with lowered priority (which gives way, but still uses caches and memory), `stolen` what
    the hypervisor took."""

    seconds: float
    cores: dict[str, float]
    others: float
    niced: float
    stolen: float


class MemoryUsage(NamedTuple):
    """MiB of resident memory by part: at first, at last, and at most."""

    first_mb: dict[str, float]
    last_mb: dict[str, float]
    peak_mb: dict[str, float]


@dataclass(slots=True)
class BenchProcesses:
    """Which processes belong to which part: the service, its workers, the publishers and the bench itself."""

    service_pid: int
    publisher_pids: tuple[int, ...]
    memory: MemoryUsage = field(default_factory=lambda: MemoryUsage({}, {}, {}))

    def look(self) -> None:
        """Takes the memory that is in use now into account."""
        for part, processes in self._processes().items():
            used_mb = sum(process.memory_info().rss for process in processes) / _MIB
            self.memory.first_mb.setdefault(part, used_mb)
            self.memory.last_mb[part] = used_mb
            self.memory.peak_mb[part] = max(used_mb, self.memory.peak_mb.get(part, 0.0))

    def cpu(self) -> CpuSnapshot:
        used_s = {
            part: sum(sum(process.cpu_times()[:2]) for process in processes)
            for part, processes in self._processes().items()
        }
        machine = psutil.cpu_times()
        busy_s = sum(getattr(machine, name) for name in ("user", "system", "irq", "softirq"))
        return CpuSnapshot(time.monotonic(), used_s, busy_s, machine.nice, machine.steal)

    def _processes(self) -> dict[str, list[psutil.Process]]:
        service = psutil.Process(self.service_pid)
        return {
            "api": [service],
            "workers": service.children(recursive=True),
            "publishers": [psutil.Process(pid) for pid in self.publisher_pids],
            "bench": [psutil.Process()],
        }


class CpuSnapshot(NamedTuple):
    """CPU seconds so far, at a moment."""

    at_s: float
    used_s: dict[str, float]
    busy_s: float
    niced_s: float
    stolen_s: float

    def until(self, later: CpuSnapshot) -> CpuUsage:
        seconds = later.at_s - self.at_s
        cores = {part: (later.used_s[part] - used_s) / seconds for part, used_s in self.used_s.items()}
        others = (later.busy_s - self.busy_s) / seconds - sum(cores.values())
        niced, stolen = (later.niced_s - self.niced_s) / seconds, (later.stolen_s - self.stolen_s) / seconds
        return CpuUsage(seconds, cores, max(0.0, others), niced, stolen)


def machine_facts() -> dict[str, str | int | float]:
    """What a reader needs to compare figures."""
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "memory_mb": round(psutil.virtual_memory().total / _MIB),
        "kernel": os.uname().release,
        "load_1min": round(os.getloadavg()[0], 2),
    }


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def _cpu_name() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return os.uname().machine
