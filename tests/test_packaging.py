"""What is installed: every dependency pinned, in the range that pyproject.toml allows, and what the tests run with."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def pinned(name: str) -> dict[str, Requirement]:
    """The lines of a requirements file, by canonical name."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "packaging" / name).read_text("utf-8").splitlines())
    made = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(r.name): r for r in made}


def test_every_dependency_is_pinned_within_its_range() -> None:
    pins = pinned("requirements.txt")
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        if wanted.name == "torch":  # the Makefile installs it first, exactly
            assert f"torch{wanted.specifier}" in (ROOT / "Makefile").read_text("utf-8")
            continue
        pin = next(iter(pins[canonicalize_name(wanted.name)].specifier))
        assert pin.operator == "==" and wanted.specifier.contains(pin.version), text


def test_development_tools_are_the_ones_that_are_pinned() -> None:
    wanted = {canonicalize_name(Requirement(t).name) for t in PROJECT["optional-dependencies"]["dev"]}
    assert set(pinned("requirements-dev.txt")) == wanted


def test_what_runs_here_is_what_is_pinned() -> None:
    pins = {**pinned("requirements.txt"), **pinned("requirements-dev.txt")}
    found = {name: version(name) for name in pins}
    assert found == {name: next(iter(r.specifier)).version for name, r in pins.items()}
