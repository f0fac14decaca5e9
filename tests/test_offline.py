"""The tests run without a network: whoever reaches for it fails, also in the processes that tests start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.models import write_family
from tests.offline.sitecustomize import NetworkUsed

ROOT = Path(__file__).resolve().parent.parent
REACH = {
    "tcp": "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "udp": "import socket as s\nwith s.socket(s.AF_INET, s.SOCK_DGRAM) as u: u.sendto(b'x', ('127.0.0.1', 9))",
    "http": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')",
    "name": "import socket; socket.gethostbyname('localhost')",
}


@pytest.mark.parametrize("how", REACH)
def test_the_network_is_forbidden_here_and_in_children(how: str) -> None:
    with pytest.raises(BaseException, match="socket") as refused:
        exec(REACH[how], {})
    assert type(refused.value).__name__ == NetworkUsed.__name__, "a worker of pytest-xdist has loaded its own"
    done = subprocess.run([sys.executable, "-c", REACH[how]], check=False, capture_output=True, text=True)
    assert done.returncode and "NetworkUsed" in done.stderr


def test_sockets_of_this_machine_are_allowed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))


# The kernel's own ban, which C code cannot get round ----------------------------------------------------------

RAW = "import ctypes; print(ctypes.CDLL(None).socket({}, 1, 0))"
COMMANDS = """
import sys
from app import cli
base, first, second, out = sys.argv[1:]
experts = ["--expert", first, "--expert", second]
assert cli.run(["merge", "--base", base, *experts, "--method", "ties", "--out", out, "--device", "cpu"]) == 0
assert cli.run(["verify", out, "--all", "--inputs", base, first, second]) == 0
assert cli.run(["history"]) == 0
"""
WINDOW = """
import sys
from app.gui import make_application
app = make_application([])
from PySide6.QtCore import QTimer
from app.desk import Desk
desk = Desk(app)
desk.start(sys.argv[1:])
app.setProperty("forced", True)
ticks = []

def tick():
    ticks.append(desk.workspace.runner.is_busy)
    if len(desk.workspace.recipe.experts) == 2 and not any(ticks[-4:]) or len(ticks) > 300:
        timer.stop()
        print("experts", len(desk.workspace.recipe.experts))
        desk.window.close()
        app.exit()

timer = QTimer(interval=100)
timer.timeout.connect(tick)
timer.start()
app.exec()
"""


def banned(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program under the kernel's ban; skips where this kernel has none."""
    given = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # the kernel alone shall forbid
    done = subprocess.run([sys.executable, "-m", "tests.offline.kernel", *command], cwd=ROOT, check=False, timeout=240,
                          env={**given, "OMP_NUM_THREADS": "1", **env}, capture_output=True, text=True)  # fmt: skip
    if "filter" not in done.stderr.partition("\n")[0]:
        pytest.skip(f"this kernel or container lets nobody filter system calls ({done.stderr.partition(chr(10))[0]})")
    return done


def test_the_kernel_ban_kills_whoever_asks_for_a_socket() -> None:
    for family in (socket.AF_INET, socket.AF_INET6, 16):  # 16: netlink
        assert banned(sys.executable, "-c", RAW.format(int(family))).returncode == -signal.SIGSYS
    assert banned(sys.executable, "-c", RAW.format(int(socket.AF_UNIX))).stdout.strip() == "3"
    child = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {RAW.format(2)!r}]).returncode)"
    assert banned(sys.executable, "-c", child).returncode != 0, "children inherit it"


def test_merge_verify_and_history_work_under_the_kernel_ban(tmp_path: Path) -> None:
    base, (first, second, *_) = write_family(tmp_path / "models")
    paths = [str(p) for p in (base, first, second, tmp_path / "merged")]
    done = banned(sys.executable, "-c", COMMANDS, *paths, MIXDOWN_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "merged" / "model.safetensors").is_file() and "merged" in done.stdout


@pytest.mark.soak
def test_the_window_works_under_the_kernel_ban(tmp_path: Path) -> None:
    base, (first, second, *_) = write_family(tmp_path / "models")
    done = banned(sys.executable, "-c", WINDOW, *map(str, (base, first, second)), QT_QPA_PLATFORM="offscreen",
                  MIXDOWN_HOME=str(tmp_path / "home"))  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr[-2000:])
    assert "experts 2" in done.stdout
