"""What this machine has, what is wrong with it, and what to do: `main.py doctor` and the About box."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app import plugins
from app.version import VERSION
from engine.errors import BadRecipe

PACKAGES = ("torch", "PySide6_Essentials", "safetensors", "numpy", "transformers", "onnxruntime", "onnx",
            "onnxscript", "SQLAlchemy", "pyqtgraph")  # fmt: skip
FLOORS = {"torch": (2, 10), "safetensors": (0, 8), "transformers": (5, 3), "onnx": (1, 21)}
"""Versions below these have known security holes."""


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of one examination."""

    versions: dict[str, str]
    devices: tuple[str, ...]
    display: str
    data_folder: str
    free_bytes: int
    cores: int
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def examine(home: Path) -> Report:
    """Look at versions, devices, display and disk."""
    versions = {"Mixdown": VERSION, "Python": platform.python_version(), **installed_versions()}
    devices, problems = _devices()
    problems += [f"{name} is not installed. Run: make run" for name in PACKAGES if name not in versions]
    problems += _old(versions) + _qt_problems(versions)
    problems += [f"{said[0].upper()}{said[1:]}." for said in plugins.load().problems]
    there = next(folder for folder in (home, *home.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if not (home.is_dir() and os.access(home, os.W_OK)):
        problems.append(f"{home} cannot be written: preferences, runs and what is on the desk are not kept.")
    if free < 10**9:
        problems.append(f"Only {free / 1e9:.1f} GB are free where Mixdown keeps its data ({home}).")
    return Report(versions, devices, _display(), str(home), free, os.cpu_count() or 1, tuple(problems))


def pick_device(wanted: str) -> str:
    """ "auto" becomes "cuda" where CUDA works, else "cpu".

    Raises:
        BadRecipe: if CUDA is asked for and there is none.
    """
    if wanted == "cpu" or (wanted == "auto" and not _may_have_cuda()):
        return "cpu"
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise BadRecipe("There is no CUDA device.", hint="Use --device cpu, or install the CUDA build of torch 2.13.0.")
    if wanted != "cuda" and not wanted.startswith("cuda:"):
        raise BadRecipe(f"There is no device {wanted!r}.", hint="Use auto, cpu or cuda.")
    return wanted


def _may_have_cuda() -> bool:
    """Whether torch could find a CUDA device: what can be told without loading it, which takes seconds."""
    import importlib.metadata

    with suppress(importlib.metadata.PackageNotFoundError):
        if importlib.metadata.version("torch").endswith("+cpu"):
            return False
    drivers = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, that of Windows for Linux, AMD's
    return sys.platform != "linux" or any(map(os.path.exists, drivers))


def known_devices() -> tuple[tuple[str, str], ...]:
    """(id, label) of the devices to choose from; loads torch."""
    import torch

    found = [("auto", "Automatic"), ("cpu", "CPU")]
    if torch.cuda.is_available():
        found += [(f"cuda:{i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    return tuple(found)


def installed_versions() -> dict[str, str]:
    """Versions of the packages Mixdown stands on."""
    import importlib.metadata

    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _devices() -> tuple[tuple[str, ...], list[str]]:
    if importlib.util.find_spec("torch") is None:
        return ("cpu",), []
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        return ("cpu",), [] if built is None else ["torch is a CUDA build but sees no GPU. Check the driver."]
    names = tuple(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))
    return ("cpu", *names), []


def outdated() -> tuple[str, ...]:
    """Installed packages with known security holes, a sentence each; loads none of them."""
    return tuple(_old(installed_versions()))


def _old(versions: dict[str, str]) -> list[str]:
    problems = []
    for name, floor in FLOORS.items():
        parts = versions.get(name, "").split("+")[0].split(".")
        if len(parts) >= 2 and parts[0].isdigit() and parts[1].isdigit() and (int(parts[0]), int(parts[1])) < floor:
            needed = ".".join(map(str, floor))
            problems.append(f"{name} {versions[name]} has known security holes. Install {needed} or newer.")
    return problems


def _qt_problems(versions: dict[str, str]) -> list[str]:
    problems = []
    qt = versions.get("PySide6_Essentials", "")
    if qt.startswith("6.12.") and sys.version_info < (3, 12):
        problems.append("PySide6 6.12 crashes on Python 3.11. Install 6.11: pip install 'PySide6-Essentials<6.12'")
    if sys.platform == "linux" and not _display() and not os.environ.get("QT_QPA_PLATFORM"):
        problems.append(
            "There is no display (DISPLAY and WAYLAND_DISPLAY are empty); the commands work, the window not."
        )
    return problems


def _display() -> str:
    return os.environ.get("QT_QPA_PLATFORM") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY", "")
