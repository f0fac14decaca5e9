"""What the process that loads pickles takes from itself before: network, programs, files, memory, time.

Every step is tried; those that this system lacks are left out. `ban` always works: it is Python's own audit hook.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from contextlib import suppress

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_ARCH_X86_64 = 0xC000003E
_SYSCALLS = (41, 42, 44, 46, 49, 50, 53, 57, 58, 59, 62, 76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 92, 101, 133, 165,
             258, 259, 260, 263, 264, 265, 266, 268, 310, 311, 316, 321, 322, 425, 437)  # fmt: skip
"""x86-64: sockets, fork, exec, kill, truncate, rename, mkdir, unlink, links, chmod, ptrace, mount, bpf, io_uring."""
_BANNED = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.remove",
           "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate",
           "os.kill", "os.putenv", "shutil.", "ctypes.dlopen", "urllib.", "ftplib.", "smtplib.", "webbrowser.", "pty.",
           "winreg.")  # fmt: skip
_WRITING = 0x1 | 0x2 | 0x40 | 0x200 | 0x400  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND


def limit(memory: int, seconds: int, file_size: int, files: int = 64) -> None:
    """Bound memory beyond what is used now (0: not), processor time, the size of files and their number."""
    try:
        import resource
    except ImportError:  # Windows: the parent's timeout remains
        return
    used = 0
    with suppress(OSError), open("/proc/self/statm", encoding="ascii") as status:
        used = int(status.read().split()[0]) * resource.getpagesize()
    limits = {resource.RLIMIT_CPU: seconds + int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + 1,
              resource.RLIMIT_FSIZE: file_size, resource.RLIMIT_NOFILE: files, resource.RLIMIT_CORE: 0}  # fmt: skip
    if used and memory:
        limits[resource.RLIMIT_AS] = used + memory
    for kind, most in limits.items():
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))


def isolate() -> tuple[str, ...]:
    """Give up the network and, where the system can, all calls that start or change something.

    Returns:
        What could be done: "namespace", "seccomp".
    """
    done: list[str] = []
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEW_USER | _NEW_NET) == 0 or libc.unshare(_NEW_NET) == 0:
            done.append("namespace")
        if platform.machine() == "x86_64" and libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            program = _program()
            code = ctypes.create_string_buffer(program, len(program))
            whole = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
            if libc.prctl(_SET_SECCOMP, _FILTER, ctypes.create_string_buffer(whole, len(whole)), 0, 0) == 0:
                done.append("seccomp")
    return tuple(done)


def ban() -> None:
    """Refuse, inside Python, whatever starts, connects, deletes or opens for writing."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        opens = event == "open" and len(arguments) > 2 and not isinstance(arguments[0], int)  # open files stay
        writes = opens and (
            any(c in str(arguments[1] or "") for c in "wax+")
            or (isinstance(arguments[2], int) and arguments[1] is None and arguments[2] & _WRITING != 0)
        )
        if writes or event.startswith(_BANNED):
            raise PermissionError(f"{event} is not allowed here")

    sys.addaudithook(hook)


def _program() -> bytes:
    """BPF: other architectures and the listed calls fail with EPERM, all others are allowed."""
    allow, deny = 0x7FFF0000, 0x00050001
    count = len(_SYSCALLS)
    steps = [(0x20, 0, 0, 4), (0x15, 0, count + 3, _ARCH_X86_64), (0x20, 0, 0, 0), (0x35, count + 1, 0, 0x40000000)]
    for index, number in enumerate(_SYSCALLS):
        steps.append((0x15, count - index, 0, number))
    steps += [(0x06, 0, 0, allow), (0x06, 0, 0, deny)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
