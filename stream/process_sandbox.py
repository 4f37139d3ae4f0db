"""Process sandbox: limits a process that decodes untrusted media.

On systems other than Linux, only the portable limits apply. The seccomp filter, a classic BPF program, exists on x86-64
and AArch64 only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_X32_CALLS = 0x40000000

# socket, connect, bind, open, openat, openat2, execve, execveat, ptrace, io_uring_setup, process_vm_writev
_CALLS = {
    "x86_64": (0xC000003E, (41, 42, 49, 2, 257, 437, 59, 322, 101, 425, 311)),
    "aarch64": (0xC00000B7, (198, 203, 200, 56, 437, 221, 281, 117, 425, 271)),
}


def confine(address_space_bytes: int, max_files: int) -> None:
    """Denies new privileges and core files, and bounds descriptors and memory, for good. Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))
    if address_space_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))


def return_memory() -> None:
    """Returns freed memory to the system; the allocator would keep the memory of one large picture."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)      # glibc only
    if trim is not None:
        trim(0)


def die_with(parent_pid: int) -> None:
    """Has the kernel kill this process when its parent ends, even if it hangs. Exits if it has already ended."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(0)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def deny_outside_access() -> bool:
    """Denies this thread, and those that it starts, files, connections and programs, for good (seccomp).

    The system calls fail with EPERM. Needs `no_new_privs`. Returns False without kernel or processor support.
    """
    architecture, numbers = _CALLS.get(os.uname().machine, (0, ()))
    if sys.platform != "linux" or not numbers:
        return False
    code = _program(architecture, numbers)
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _program(architecture: int, numbers: tuple[int, ...]) -> bytes:
    """Returns the BPF program: kills on calls of another architecture, refuses `numbers`, allows all others."""
    last = len(numbers)
    steps = [
        _step(_LOAD_WORD, _ARCHITECTURE_AT), _step(_JUMP_EQUAL, architecture, 1), _step(_RETURN, _KILL),
        _step(_LOAD_WORD, _NUMBER_AT), _step(_JUMP_AT_LEAST, _X32_CALLS, last + 1),
        *(_step(_JUMP_EQUAL, number, last - at) for at, number in enumerate(numbers)),
        _step(_RETURN, _ALLOW), _step(_RETURN, _REFUSE),
    ]
    return b"".join(steps)


def _step(code: int, value: int, if_true: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, 0, value)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
