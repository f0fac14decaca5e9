"""Runs a program that the kernel itself keeps from the network, whatever language its code is in.

python -m tests.offline.kernel PROGRAM ARGUMENT...

Two bans, as far as this kernel allows them: a network of its own in which there is nothing, and a filter of system
calls that kills whoever asks for a socket of another family than AF_UNIX, so that no attempt can be swallowed. Children
inherit both.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Machine -> number of its architecture for the kernel, number of the call `socket`."""
_IO_URING, _X32 = 425, 0x40000000
_ALLOW, _KILL, _NO_SUCH_CALL = 0x7FFF0000, 0x80000000, 0x00050000 | 38


def ban() -> tuple[str, ...]:
    """Give up the network for good; returns what the kernel allowed, of "namespace" and "filter"."""
    if sys.platform != "linux":
        return ()
    libc, done = ctypes.CDLL(None, use_errno=True), list[str]()
    if libc.unshare(_NEW_NET) == 0 or libc.unshare(_NEW_USER | _NEW_NET) == 0:
        done.append("namespace")
    if platform.machine() in _MACHINES and libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        program = _program(*_MACHINES[platform.machine()])
        code = ctypes.create_string_buffer(program, len(program))
        whole = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
        if libc.prctl(_SET_SECCOMP, _FILTER, ctypes.create_string_buffer(whole, len(whole)), 0, 0) == 0:
            done.append("filter")
    return tuple(done)


def _program(architecture: int, call: int) -> bytes:
    """BPF: io_uring, which makes sockets too, is not there; sockets are AF_UNIX or the end of the process."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    steps = [
        (load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, _KILL),
        (load, 0, 0, 0), (at_least, 5, 0, _X32), (equal, 5, 0, _IO_URING), (equal, 0, 2, call),
        (load, 0, 0, 16), (equal, 0, 1, int(socket.AF_UNIX)),
        (give, 0, 0, _ALLOW), (give, 0, 0, _KILL), (give, 0, 0, _NO_SUCH_CALL),
    ]  # fmt: skip
    return b"".join(struct.pack("HBBI", *step) for step in steps)


if __name__ == "__main__":
    sys.stderr.write(f"banned: {' '.join(ban())}\n")
    sys.stderr.flush()
    os.execvp(sys.argv[1], sys.argv[1:])
