"""Golden cases of merging in subspaces and by regression: DC-Merge, KnOTS, Core Space, Twin, WUDI, ACTMat, ACE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from engine import steps
from engine.methods import find
from tests.engine.golden_cases import Case, Check, Golden, Runners, cases_in, load_inputs, part
from tests.engine.memory_view import merge, merge_kernel, view_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from tests.engine.memory_view import State

ALL = {"matrices": "all"}


def dc_full(g: Golden) -> Iterator[Check]:
    return g.checks(g.kernel("dc_merge", g.ones, keep=g.params["core_topk"]))


def dc_lora(g: Golden) -> Iterator[Check]:
    """Task vectors are given; around a base of 0 they stay exact."""
    given = load_inputs("LORA16")
    experts = [part(given, f"t{t}/") for t in range(3)]
    base = {name: torch.zeros_like(x) for name, x in experts[0].items()}
    smoothing = {"avg": "average", "linear": "linear"}[g.params["smoothing"]]
    params = {"rank": g.params["rank"], "smoothing": smoothing, "ratio": g.params["rho"]}
    return g.checks(merge_kernel(view_of(find("dc_merge"), base, experts, [1.0] * 3), find("dc_merge"), params))


def adapters(layer: str) -> list[tuple[Tensor, Tensor]]:
    """B and A of every task of the LoRA inputs."""
    given = load_inputs("L")
    return [(given[f"t{t}/{layer}.B"], given[f"t{t}/{layer}.A"]) for t in range(3)]


def lora(g: Golden, method: str, **params: Any) -> Iterator[Check]:
    """The record holds merged weights; experts are the base plus B A, as a user would merge adapters in."""
    base = part(load_inputs("L"), "base/")
    pairs = {name: adapters(name.removesuffix(".weight")) for name in base}
    experts = [{name: base[name] + pairs[name][t][0] @ pairs[name][t][1] for name in base} for t in range(3)]
    return g.checks(merge(method, base, experts, [1.0] * 3, {"scale": g.params["scale"], **params}))


def knots_ties(g: Golden) -> Iterator[Check]:
    return lora(g, "knots", merger="ties", density=g.params["topK"] / 100, merge=g.params["merging_type"])


def knots_tv(g: Golden) -> Iterator[Check]:
    return lora(g, "knots", merger="tv", density=g.params["topK"] / 100, merge=g.params["merging_type"])


def core(g: Golden) -> Iterator[Check]:
    return lora(g, "core_space", merger=g.params["method"], isotropic=g.params["isotropize"])


def core_ties(g: Golden) -> Iterator[Check]:
    """TIES depends on how B and A share the singular values, which merged checkpoints do not tell: by the steps."""
    base = part(load_inputs("L"), "base/")
    for name, want in g.out.items():
        pairs = adapters(name.removesuffix(".weight"))
        found = steps.subspace.core([b for b, _ in pairs], [a for _, a in pairs])
        merged = steps.subspace.merge_cores(found.cores, [1.0] * 3, "ties", g.params["topK"] / 100)
        merged = steps.subspace.isotropic(merged) if g.params["isotropize"] else merged
        yield Check(name, (base[name] + g.params["scale"] * found.back(merged)).float(), want)


def twin(g: Golden) -> Iterator[Check]:
    """The merged model, and the exclusive parts one by one."""
    names = list(part(g.out, "merged/"))
    base, experts = chosen(g.base, names), [chosen(e, names) for e in g.experts]
    params = {"density": 1 - g.params["mask_rate"], "compress": g.params["strategy"]}
    yield from g.checks(merge("twin", base, experts, g.out["weights"].tolist(), params), "merged/")
    shared = merge("twin", base, experts, g.ones, {"density": 0.0, "matrices": "all", **without(params, "density")})
    for name in names:
        if base[name].ndim == 2:  # vectors are never compressed: their exclusive part is in the result
            yield Check(f"shared {name}", shared[name], g.out[f"shared/{name}"])
        for t, expert in enumerate(experts):
            how = params["compress"] if base[name].ndim == 2 else "whole"
            rest = expert[name] - g.out[f"shared/{name}"]
            got = steps.subspace.compressed(rest, params["density"], how)
            yield Check(f"exclusive {t} {name}", got, g.out[f"exclusive{t}/{name}"])


def chosen(state: State, names: list[str]) -> State:
    return {name: state[name] for name in names}


def without(params: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != name}


def matrices_only(g: Golden, method: str, **params: Any) -> Iterator[Check]:
    got = g.kernel(method, g.ones, **params)
    return g.checks(chosen(got, list(g.out)))


def wudi(g: Golden) -> Iterator[Check]:
    return matrices_only(g, "wudi", iterations=g.params["iters"], rate=g.params["lr"], **ALL)


def wudi_closed(g: Golden) -> Iterator[Check]:
    return matrices_only(g, "wudi", solver="closed", ridge=g.params["ridge"], **ALL)


def actmat(g: Golden) -> Iterator[Check]:
    return matrices_only(g, "actmat", **ALL)


def ace(g: Golden) -> Iterator[Check]:
    """Faders in the place of the recorded scales; the record's gate is checked, too."""
    scales = g.params.get("task_scales", g.ones)
    for name, want in g.params.get("gamma", {}).items():
        squares = [float(((e[name] - g.base[name]) * s).square().sum()) for e, s in zip(g.experts, scales, strict=True)]
        yield Check(f"gate {name}", torch.tensor(steps.covariance.spread(squares)), torch.tensor(want))
    yield from g.checks(g.kernel("ace", scales, ridge=g.params["eps"], share=g.params["k_frac"]))


RUNNERS: Runners = (
    (r"dc_merge_fft", "dc_merge", dc_full),
    (r"dc_merge_lora", "dc_merge", dc_lora),
    (r"knots_ties", "knots", knots_ties),
    (r"knots_tv", "knots", knots_tv),
    (r"core_ties", "core_space (steps)", core_ties),
    (r"core_", "core_space", core),
    (r"twin_", "twin", twin),
    (r"wudi_adam", "wudi", wudi),
    (r"wudi_closed", "wudi", wudi_closed),
    (r"actmat", "actmat", actmat),
    (r"ace_", "ace", ace),
)


def cases() -> list[Case]:
    """The cases of this group."""
    return cases_in(RUNNERS)
