"""System calls that a process gives up for good, as a classic BPF program (seccomp). Linux on x86-64 and AArch64."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

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


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_outside() -> bool:
    """From now on this thread, and those that it starts, can open no file, make no connection and start no program: the
    calls fail with EPERM. Needs `no_new_privs`. False where this kernel or processor has no such filter."""
    architecture, numbers = _CALLS.get(os.uname().machine, (0, ()))
    if sys.platform != "linux" or not numbers:
        return False
    code = _program(architecture, numbers)
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _program(architecture: int, numbers: tuple[int, ...]) -> bytes:
    """Kills on another architecture's calls, refuses these, allows the others."""
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
