"""CPU and memory of the benchmark's processes, by part, and of the rest of the machine."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

_MIB = 2**20


class CpuUsage(NamedTuple):
    """CPU use over `seconds`, in cores (1.0 is one fully busy core), by part.

    `others`: other processes of the machine. `niced`: processes with lowered priority, which yield CPU but use caches
    and memory. `stolen`: time taken by the hypervisor.
    """

    seconds: float
    cores: dict[str, float]
    others: float
    niced: float
    stolen: float


class MemoryUsage(NamedTuple):
    """Resident memory by part in MiB: first sample, last sample, maximum."""

    first_mb: dict[str, float]
    last_mb: dict[str, float]
    peak_mb: dict[str, float]


@dataclass(slots=True)
class BenchProcesses:
    """The processes of a run by part: service, workers, publishers, and the benchmark itself."""

    service_pid: int
    publisher_pids: tuple[int, ...]
    memory: MemoryUsage = field(default_factory=lambda: MemoryUsage({}, {}, {}))

    def sample_memory(self) -> None:
        """Records the current resident memory."""
        for part, processes in self._processes().items():
            used_mb = sum(process.memory_info().rss for process in processes) / _MIB
            self.memory.first_mb.setdefault(part, used_mb)
            self.memory.last_mb[part] = used_mb
            self.memory.peak_mb[part] = max(used_mb, self.memory.peak_mb.get(part, 0.0))

    def cpu(self) -> CpuSnapshot:
        """Returns the CPU time used so far."""
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
    """Cumulative CPU seconds at one moment."""

    at_s: float
    used_s: dict[str, float]
    busy_s: float
    niced_s: float
    stolen_s: float

    def until(self, later: CpuSnapshot) -> CpuUsage:
        """Returns the CPU use between this and a later snapshot."""
        seconds = later.at_s - self.at_s
        cores = {part: (later.used_s[part] - used_s) / seconds for part, used_s in self.used_s.items()}
        others = (later.busy_s - self.busy_s) / seconds - sum(cores.values())
        niced, stolen = (later.niced_s - self.niced_s) / seconds, (later.stolen_s - self.stolen_s) / seconds
        return CpuUsage(seconds, cores, max(0.0, others), niced, stolen)


def machine_facts() -> dict[str, str | int | float]:
    """Returns the machine's description for reports."""
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "memory_mb": round(psutil.virtual_memory().total / _MIB),
        "kernel": os.uname().release,
        "load_1min": round(os.getloadavg()[0], 2),
    }


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _cpu_name() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return os.uname().machine
