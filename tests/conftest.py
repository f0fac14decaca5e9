"""Every test gets its own Mixdown home, so that nothing of the user's is read or written.

Garbage is collected in the main thread only, as in the application: a worker of one test must not end what is left of
the windows of another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import quiet
from tests.offline import sitecustomize as offline

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MIXDOWN_EXPORT", "thread")  # a process for each export would cost seconds; its tests ask for it
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(offline.__file__).parent), os.getenv("PYTHONPATH")]))
quiet.take_over()
SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXDOWN_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    quiet.collect()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's shared folder; tests that need it are skipped where it is absent."""
    if not SHARED.exists():
        pytest.skip("../shared is not here")
    return SHARED
