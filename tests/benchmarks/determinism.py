"""`python -m tests.benchmarks.determinism`: one hash for each method over 8 ways to run the same merge.

The ways are all combinations of 1 or 3 threads, small or large chunks, and two orders of the experts. Every method
of class A runs on float32 and bfloat16 models; those of task vectors also with the post-processor SVC. Prints one
line for each and ends with an error code if any has more than one hash. Names of methods as arguments choose some.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.merge.recall import SHARED
from engine.merge.run import merged_state
from engine.methods import registered
from engine.methods.spec import Method
from engine.recipe.recipe import ModelRef, Recipe

SHAPES = {"model.embed_tokens.weight": (3, 4099), "model.layers.0.self_attn.q_proj.weight": (40, 33),
          "model.layers.0.mlp.up_proj.weight": (48, 40), "model.norm.weight": (40,), "scalar": ()}  # fmt: skip
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}
COEFFICIENTS = (0.3, 0.7, 0.45)
WAYS = tuple(product((1, 3), (4096, 1 << 18), (False, True)))
"""(threads, chunk, reversed experts)."""


def family(folder: Path, dtype: torch.dtype) -> Recipe:
    """A recipe of a base and three experts on disk."""
    made = torch.Generator().manual_seed(3)
    base = {name: torch.randn(shape, generator=made) for name, shape in SHAPES.items()}
    refs = []
    for number in range(4):
        state = {n: x + (number > 0) * 0.1 * torch.randn(x.shape, generator=made) for n, x in base.items()}
        save_file({n: x.to(dtype) for n, x in state.items()}, path := folder / f"m{number}.safetensors")
        refs.append(ModelRef(id=f"e{number}", name=f"m{number}", path=str(path)))
    return Recipe(base=refs[0], experts=tuple(refs[1:]), seed=11)


def digest(state: dict[str, Tensor]) -> str:
    """Hash of names and bytes."""
    whole = hashlib.sha256()
    for name in sorted(state):
        whole.update(name.encode() + state[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def hashes(recipe: Recipe, method: Method, post: str) -> list[str]:
    """The hash of every way; what earlier ones remembered is forgotten."""
    kept = recipe.experts[: method.max_experts]
    params = (("post", post),) if post != "none" else ()
    gains = tuple((e.id, c) for e, c in zip(kept, COEFFICIENTS, strict=False))
    recipe = replace(recipe, experts=kept, method=method.id, params=params, gains=gains)
    found = []
    for threads, chunk, backwards in WAYS:
        SHARED.clear()
        order = [e.id for e in recipe.experts]
        turned = recipe.with_order(reversed(order)) if backwards and not _takes_order(method) else recipe
        plan = make_plan(turned, open_inputs(turned))
        found.append(digest(merged_state(plan, threads=threads, chunk=chunk)))
    return found


def _takes_order(method: Method) -> bool:
    """Whether the first row means something to a method: one of its parameters names an expert."""
    return any(param.role == "expert" for param in method.params)


def rows(folder: Path, chosen: tuple[str, ...] = ()) -> Iterator[tuple[str, str, str, list[str]]]:
    """(method, dtype, post, hashes) of every method of class A, or of the chosen ones."""
    for label, dtype in DTYPES.items():
        (folder / label).mkdir()
        recipe = family(folder / label, dtype)
        for method in registered().values():
            if method.reproducibility != "A" or (chosen and method.id not in chosen):
                continue
            for post in ("none", "svc") if method.space == "delta" else ("none",):
                yield method.id, label, post, hashes(recipe, method, post)


def main(chosen: tuple[str, ...] = ()) -> int:
    """Print the table; how many rows have more than one hash."""
    torch.set_num_threads(1)
    unequal = 0
    with tempfile.TemporaryDirectory() as folder:
        for method, dtype, post, found in rows(Path(folder), chosen):
            same = len(set(found)) == 1
            unequal += not same
            verdict = f"{len(found)} equal" if same else f"{len(set(found))} DIFFERENT"
            print(f"{method:22} {dtype:5} {post:5} {found[0][:16]} {verdict}", flush=True)
    print("all equal" if not unequal else f"{unequal} rows differ")
    return unequal


if __name__ == "__main__":
    sys.exit(bool(main(tuple(sys.argv[1:]))))
