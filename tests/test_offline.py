"""The tests run without a network: whoever reaches for it fails, also in the processes that tests start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.offline.sitecustomize import NetworkUsed

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
