"""`python -m tests.engine.golden_table`: agreement with the authors' code, by method and source.

Give a folder that holds more golden cases (cases, inputs, manifest.json) to copy those of our methods
into tests/golden first: `python -m tests.engine.golden_table ../shared/golden`.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.engine.golden_cases import GOLDEN, RUNNERS, Case, Check, all_cases, checks, runner_in, tolerance

HEADER = ("method", "source", "cases", "tensors", "max error", "exact")


def every_case() -> list[Case]:
    """The cases of `golden_cases`, then those of every other module golden_* that has any."""
    return [*all_cases(), *(case for module in groups() for case in module.cases())]


def groups() -> list[Any]:
    """The modules golden_* that have cases."""
    names = sorted(p.stem for p in Path(__file__).parent.glob("golden_*.py"))
    modules = [importlib.import_module(f"tests.engine.{name}") for name in names]
    return [module for module in modules if hasattr(module, "cases")]


def holds(case: Case, check: Check) -> bool:
    """Whether a check holds to the tolerance that the manifest states for its case."""
    return check.holds(tolerance(case))


def table(cases: list[Case]) -> list[tuple[str, ...]]:
    """One row for each method and source: how many cases, and the largest absolute error of fp32 outputs."""
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.method, case.entry["source"].split()[0]].append(case)
    rows = []
    for (method, source), members in sorted(groups.items()):
        pairs = [(case, check) for case in members for check in checks(case)]
        found = [check for _, check in pairs]
        floats = [c.error for c in found if not c.exact and c.want.element_size() > 2]
        narrow = [c for c in found if not c.exact and c.want.element_size() == 2]
        error = f"{max(floats):.1e}" if floats else "-"
        if narrow:
            error += f" (bf16: {max(c.ulps for c in narrow):.2g} ulp)"
        wrong = sum(not holds(case, check) for case, check in pairs)
        exact = sum(c.exact for c in found)
        rows.append((method, source, str(len(members)), str(len(found)), error, f"{exact} of {exact}"))
        if wrong:
            rows[-1] = (*rows[-1][:-1], f"{wrong} WRONG")
    return rows


def printed(rows: list[tuple[str, ...]]) -> str:
    """The rows in columns."""
    widths = [max(len(row[i]) for row in (HEADER, *rows)) for i in range(len(HEADER))]
    lines = [(" ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))).rstrip() for row in (HEADER, *rows)]
    return "\n".join(lines)


def copy_used(source: Path) -> int:
    """Copy the cases, inputs and manifest entries of our methods; how many cases."""
    manifest = json.loads((source / "manifest.json").read_text("utf-8"))
    tables = [RUNNERS, *(group.RUNNERS for group in groups())]
    used = [entry for entry in manifest["cases"] if any(runner_in(table, entry["id"]) for table in tables)]
    inputs = sorted({f"{entry['inputs'].split()[0]}.safetensors" for entry in used})
    for name in [entry["file"] for entry in used] + [f"inputs/{name}" for name in inputs]:
        target = GOLDEN / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
    manifest["cases"], manifest["inputs"] = used, inputs
    (GOLDEN / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    return len(used)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(copy_used(Path(sys.argv[1])), "cases copied")  # noqa: T201  # a tool to run by hand
    print(printed(table(every_case())))  # noqa: T201  # the same
