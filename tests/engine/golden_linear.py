"""Golden cases of the linear and spherical methods beyond average, task arithmetic and SLERP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from engine.methods import find
from tests.engine.golden_cases import Case, Check, Golden, Runners, cases_in, part
from tests.engine.memory_view import merge, view_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.memory_view import State

NEAR = 7.9e-3
"""How far mergekit is off in bf16: 1 to 2 units of the last place at this magnitude (spec, section 14)."""


def picked(g: Golden) -> tuple[list[State], list[float]]:
    """The models that a mergekit case merges, with their weights."""
    weight = g.params["parameters"].get("weight", 1.0)
    models = g.params["models"]
    weights = [float(weight[f"m{t}"] if isinstance(weight, dict) else weight) for t in models]
    return [g.experts[t] for t in models], weights


def mergekit(g: Golden, method: str, params: dict[str, Any]) -> State:
    """The case's models, merged by one of our methods in the file's dtypes."""
    return merge(method, g.base, *picked(g), params)


def nuslerp(g: Golden) -> Iterator[Check]:
    params = g.params["parameters"]
    by = {True: "columns", False: "rows"}[params.get("nuslerp_row_wise", False)]
    vectors = "tensor" if params.get("nuslerp_flatten", True) else by
    return g.checks(mergekit(g, "nuslerp", {"vectors": vectors, "from_base": g.params["base"]}))


def multislerp(g: Golden) -> Iterator[Check]:
    params = g.params["parameters"]
    given = {"from_base": g.params["base"], "normalise": params.get("normalize_weights", True)}
    return narrow(g, "multislerp", given)


def karcher(g: Golden) -> Iterator[Check]:
    params = g.params["parameters"]
    given = {"rounds": params.get("max_iter", 10), "tolerance": params.get("tol", 1e-5)}
    return narrow(g, "karcher", {**given, "include_base": g.params["base"]})


def model_stock(g: Golden) -> Iterator[Check]:
    given = {"filter_wise": g.params["parameters"].get("filter_wise", False), "variant": "mergekit", "clamp": False}
    return narrow(g, "model_stock", given)


def narrow(g: Golden, method: str, params: dict[str, Any]) -> Iterator[Check]:
    """In bf16 the reference rounds at every step; it is as near as the spec says, and ours is the rounded truth."""
    got = mergekit(g, method, params)
    if next(iter(g.base.values())).dtype != torch.bfloat16:
        yield from g.checks(got)
        return
    models, weights = picked(g)
    truth = merge(method, doubled(g.base), [doubled(m) for m in models], weights, params)
    for name, value in truth.items():
        yield Check(f"{name} in float64", got[name], value.to(torch.bfloat16))
        ours, theirs = got[name].double(), g.out[name].double()
        yield Check(f"{name} within {NEAR}", ours, ours.clamp(theirs - NEAR, theirs + NEAR))


def doubled(state: State) -> State:
    return {name: x.double() for name, x in state.items()}


def model_stock_fusion_bench(g: Golden) -> Iterator[Check]:
    """Two models; their ratios, and what comes of them."""
    params = {"variant": "fusion_bench", "clamp": False}
    method, models = find("model_stock"), g.experts[:2]
    yield from g.checks(merge("model_stock", g.base, models, [1.0, 1.0], params), "merged/")
    view, complete = view_of(method, g.base, models, [1.0, 1.0]), method.complete(params)
    for name, ratio in part(g.out, "ratio/").items():
        found = method.measure(view.only(name), **complete).value
        yield Check(f"ratio {name}", torch.tensor(found, dtype=torch.float64), ratio)


def metagpt(g: Golden) -> Iterator[Check]:
    method = find("metagpt")
    shares = method.survey(view_of(method, g.base, g.experts, g.ones), norm_scope="model")
    yield Check("coefficients", torch.tensor(shares), g.out["lambdas"])
    yield from g.checks(g.kernel("metagpt", g.ones), "tv/")


def nearswap(g: Golden) -> Iterator[Check]:
    merged = merge("nearswap", g.base, g.experts[:1], [1.0], {"reach": g.params["parameters"]["t"]})
    return g.checks(merged)


def baseline(g: Golden) -> Iterator[Check]:
    return g.checks(merge(g.params["agg"], g.base, g.experts, g.ones))


def negation(g: Golden) -> Iterator[Check]:
    weights = [float(t == g.params["task"]) for t in range(len(g.experts))]
    return g.checks(merge("negation", g.base, g.experts, weights, {"scale": g.params["lam"]}))


def analogy(g: Golden) -> Iterator[Check]:
    weights = [float(t in (g.params["A"], g.params["B"], g.params["C"])) for t in range(len(g.experts))]
    params = {"subtract": f"e{g.params['A']}", "scale": g.params["lam"]}
    return g.checks(merge("analogy", g.base, g.experts, weights, params))


RUNNERS: Runners = (
    (r"mk_nuslerp", "nuslerp", nuslerp),
    (r"mk_multislerp", "multislerp", multislerp),
    (r"mk_karcher", "karcher", karcher),
    (r"mk_model_stock", "model_stock", model_stock),
    (r"model_stock_fusionbench", "model_stock", model_stock_fusion_bench),
    (r"metagpt", "metagpt", metagpt),
    (r"mk_nearswap", "nearswap", nearswap),
    (r"basic_median", "median", baseline),
    (r"basic_magnitude", "magnitude", baseline),
    (r"ta_negation", "negation", negation),
    (r"ta_analogy", "analogy", analogy),
)


def cases() -> list[Case]:
    """The cases of this group."""
    return cases_in(RUNNERS)
