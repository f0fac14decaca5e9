"""Golden cases of the methods that choose elements: Breadcrumbs, DELLA, PCB, EMR, SCE, RAM and others.

Where a reference draws at random, its recorded mask takes the place of ours, and the probabilities that it was
drawn with are compared.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import Tensor

from engine import steps
from engine.methods import find
from engine.steps import drop
from tests.engine.golden_cases import Case, Check, Golden, Runners, cases_in, flat, part
from tests.engine.memory_view import merge, merge_kernel, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.steps.view import Span


def alone(g: Golden, method: str, prefix: str, **params: Any) -> Iterator[Check]:
    """Each task vector for itself: the other experts' faders are 0."""
    for t in range(len(g.experts)):
        weights = [float(t == s) for s in range(len(g.experts))]
        for check in g.checks(g.kernel(method, weights, **params), f"{prefix}{t}/"):
            yield Check(f"{t}: {check.what}", check.got, check.want)


# -- Breadcrumbs -----------------------------------------------------------------------------------------


def breadcrumbs(g: Golden) -> Iterator[Check]:
    """Task vectors and the merged model of the authors' code, row by row."""
    given = {"density": g.params["top_k_keep"], "gamma": g.params["top_k_remove"],
             "remove_first": g.params["remove_first"]}  # fmt: skip
    yield from alone(g, "breadcrumbs", "tv", scale=1.0, **given)
    merged = merge("breadcrumbs", g.base, g.experts, g.ones, {**given, "scale": g.params["alpha"]})
    yield from g.checks(merged, f"model_alpha{g.params['alpha']}/")


def top_keep(g: Golden) -> Iterator[Check]:
    return alone(g, "breadcrumbs", "tv", scale=1.0, density=g.params["top_k"], gamma=0.0)


def top_zero(g: Golden) -> Iterator[Check]:
    return alone(g, "breadcrumbs", "tv", scale=1.0, density=1.0, gamma=g.params["top_k"])


def mk_breadcrumbs(g: Golden) -> Iterator[Check]:
    params, weights = g.mergekit()
    given = {"density": params["density"], "gamma": params["gamma"], "ranks": "tensor", "scale": 1.0}
    return g.checks(merge("breadcrumbs", g.base, g.experts, weights, given))


def mk_breadcrumbs_ties(g: Golden) -> Iterator[Check]:
    params, weights = g.mergekit()
    given = {"density": params["density"], "gamma": params["gamma"]}
    return g.checks(merge("breadcrumbs_ties", g.base, g.experts, weights, given))


# -- DELLA and DARE --------------------------------------------------------------------------------------


@contextmanager
def recorded(g: Golden, chances: dict[tuple[str, int], Tensor]) -> Iterator[None]:
    """Take the recorded masks instead of random ones, and note the probabilities that were asked for."""

    def kept(span: Span, model: int, asked: Tensor) -> Tensor:
        held = chances.setdefault((span.tensor, model), torch.full((g.base[span.tensor].numel(),), torch.nan))
        held[span.start : span.stop] = asked.reshape(-1)
        mask = g.out[f"keep{model}/{span.tensor}"].reshape(-1)
        return mask[span.start : span.stop].to(asked.dtype).view(asked.shape)

    with patch.object(drop, "bernoulli_each", kept):
        yield


def same_chances(g: Golden, chances: dict[tuple[str, int], Tensor]) -> Iterator[Check]:
    """Equal probabilities wherever the task vector is not 0 (zeros tie, and the reference's sort is unstable)."""
    for (name, t), found in chances.items():
        changed = (g.experts[t][name] != g.base[name]).reshape(-1)
        want = g.out[f"prob{t}/{name}"].reshape(-1)
        assert changed.any(), "nothing to compare"
        yield Check(f"{t}: chances of {name}", found[changed], want[changed])


def della_of(ranks: str) -> Callable[[Golden], Iterator[Check]]:
    def run(g: Golden) -> Iterator[Check]:
        chances: dict[tuple[str, int], Tensor] = {}
        given = {"density": g.params["density"], "epsilon": g.params["epsilon"], "ranks": ranks, "scale": 1.0}
        with recorded(g, chances):
            found = list(alone(g, "della_linear", "pruned", **given))
        yield from found
        yield from same_chances(g, chances)

    return run


def mk_della(g: Golden) -> Iterator[Check]:
    return mergekit_della(g, "della", merge="weighted")


def mk_della_linear(g: Golden) -> Iterator[Check]:
    return mergekit_della(g, "della_linear")


def mergekit_della(g: Golden, method: str, **more: Any) -> Iterator[Check]:
    params, weights = g.mergekit()
    chances: dict[tuple[str, int], Tensor] = {}
    given = {"density": params["density"], "epsilon": params["epsilon"], "rescale": "l1", "scale": 1.0, **more}
    with recorded(g, chances):
        merged = merge(method, g.base, g.experts, weights, given)
    yield from g.checks(merged, "model/")
    yield from same_chances(g, chances)


def mergekit_dare(g: Golden, method: str, **more: Any) -> Iterator[Check]:
    params, weights = g.mergekit()
    given = {"density": params["density"], "rescale_by": "l1", "scale": 1.0, **more}
    with patch.object(drop, "bernoulli", g.masks("keep", 1)):
        merged = merge(method, g.base, g.experts, weights, given)
    yield from g.checks(merged, "model/")


def mk_dare_linear(g: Golden) -> Iterator[Check]:
    return mergekit_dare(g, "dare_linear")


def mk_dare_ties(g: Golden) -> Iterator[Check]:
    return mergekit_dare(g, "dare_ties", merge="sum", zero_sum="positive")


# -- PCB -------------------------------------------------------------------------------------------------


def pcb_of(variant: Any) -> Callable[[Golden], Iterator[Check]]:
    def run(g: Golden) -> Iterator[Check]:
        lam = g.params.get("lam", 1.0)
        params = {"variant": variant, "ratio": g.params["ratio"], "scale": 1.0}
        yield Check("merged", flat(g.kernel("pcb", [lam] * len(g.experts), **params)), g.out["merged_tv"])
        yield Check("scaled", flat(g.kernel("pcb", g.ones, **{**params, "scale": lam})), g.out["merged_tv"])
        if "scale" in g.out:
            stats = steps.compete.ranges(view_of(find("pcb"), g.base, g.experts, g.ones), variant, g.params["ratio"])
            deltas = [flat(e) - flat(g.base) for e in g.experts]
            made = steps.compete.scores(deltas, stats.sizes, variant)
            shares = [steps.compete.balance(s, pair) for s, pair in zip(made, stats.scores, strict=True)]
            yield Check("shares", torch.stack(shares), g.out["scale"])
            clamped = [steps.compete.clamped(x, pair) for x, pair in zip(deltas, stats.sizes, strict=True)]
            yield Check("clamped", torch.stack(clamped), g.out["clamped"], exact=True)

    return run


# -- masks -----------------------------------------------------------------------------------------------


def emr_flat(g: Golden) -> Iterator[Check]:
    for t in range(len(g.experts)):
        merged = g.kernel("emr", g.ones, task=f"e{t}")
        yield Check(f"restored {t}", flat(merged), g.out["recon_tv"][t])
        yield Check(f"mask {t}", (flat(merged) != 0).to(torch.uint8), g.out["mask"][t], exact=True)
    yield from rescalers(g, "flat")


def emr_tensor(g: Golden) -> Iterator[Check]:
    for t in range(len(g.experts)):
        given = {"task": f"e{t}", "rescaler": "tensor"}
        kernel = g.kernel("emr", g.ones, **given)
        for name, mask in part(g.out, f"mask{t}/").items():
            yield Check(f"mask {t} {name}", (kernel[name] != 0).to(torch.uint8), mask, exact=True)
        yield from g.checks(merge("emr", g.base, g.experts, g.ones, given), f"model{t}/")
    yield from rescalers(g, "tensor")


def rescalers(g: Golden, how: str) -> Iterator[Check]:
    method = find("emr")
    found = method.survey(view_of(method, g.base, g.experts, g.ones), **method.complete({"rescaler": how}))
    yield Check("rescalers", torch.tensor(found), g.out["rescalers"])


def magnitude_mask(g: Golden) -> Iterator[Check]:
    method, density = find("magnitude_mask"), g.params["K"] / 100
    for t in range(len(g.experts)):
        merged = g.kernel("magnitude_mask", g.ones, task=f"e{t}", density=density)
        yield Check(f"masked {t}", flat(merged), g.out["masked_mtl"][t])
    cuts = method.survey(view_of(method, g.base, g.experts, g.ones), **method.complete({"density": density}))
    masks = [((flat(e) - flat(g.base)).abs() >= c.limit) for e, c in zip(g.experts, cuts, strict=True)]
    yield Check("masks", torch.stack(masks).to(torch.uint8), g.out["mask"], exact=True)


def peft_prune(g: Golden) -> Iterator[Check]:
    given = {"density": g.params["density"], "trim_scope": "tensor", "scale": 1.0}
    return g.checks(g.kernel("magnitude_prune", g.params["weights"], **given))


def mergelm_prune(g: Golden) -> Iterator[Check]:
    """MergeLM's baseline, rescaled by the density, of each task vector."""
    density = 1 - g.params["drop_rate"]
    sizes = {x.numel() for x in g.base.values()}
    for n in sizes:  # it drops int(n * p), we keep int(n * density): the density that keeps as many
        names = [name for name, x in g.base.items() if x.numel() == n]
        given = {"density": (n - int(n * g.params["drop_rate"])) / n, "trim_scope": "tensor", "scale": 1.0}
        for t in range(len(g.experts)):
            some = [{name: e[name] for name in names} for e in g.experts]
            view = view_of(find("magnitude_prune"), {name: g.base[name] for name in names}, [some[t]], [1 / density])
            merged = merge_kernel(view, find("magnitude_prune"), given)
            for name in names:
                yield Check(f"{t}: {name}", merged[name], g.out[f"masked{t}/{name}"])


def mk_sparsify(g: Golden) -> Iterator[Check]:
    """mergekit's trims of one task vector: by magnitude with each norm restored, and without outliers."""
    g.experts = g.experts[:1]
    for norm in ("none", "l1", "l2", "linf"):
        prefix = f"magnitude_{norm}_0.3/" if norm != "none" else "magnitude_0.3/"
        given = {"density": 0.3, "trim_scope": "tensor", "rescale": norm, "scale": 1.0}
        yield from g.checks(g.kernel("magnitude_prune", [1.0], **given), prefix)
    given = {"density": 0.6, "gamma": 0.05, "ranks": "tensor", "scale": 1.0}
    yield from g.checks(g.kernel("breadcrumbs", [1.0], **given), "outliers_0.6_0.05/")


# -- others ----------------------------------------------------------------------------------------------


def magmax(g: Golden) -> Iterator[Check]:
    return g.checks(g.kernel("magmax", g.ones, scale=1.0))


def localize(g: Golden) -> Iterator[Check]:
    """The embedding is frozen in this case: it takes no part in the ranks and stays the base's."""
    names = [name for name in g.base if name != "embed.weight"]
    base = {name: g.base[name] for name in names}
    experts = [{name: e[name] for name in names} for e in g.experts]
    given = {"density": g.params["sparsity"]}
    merged = merge("localize_stitch", base, experts, g.ones, given)
    yield from g.checks({**merged, "embed.weight": g.base["embed.weight"]}, "model/")
    method = find("localize_stitch")
    cuts = method.survey(view_of(method, base, experts, g.ones), **method.complete(given))
    kept = [{n: (e[n] - base[n]).abs() > c.limit for n in names} for e, c in zip(experts, cuts, strict=True)]
    for t, masks in enumerate(kept):
        for name in names:
            want = g.out[f"mask{t}/{name}"]
            yield Check(f"mask {t} {name}", masks[name].to(want.dtype), want, exact=True)
    whole = sum(x.numel() for x in base.values())
    shares = [sum(int(m.sum()) for m in masks.values()) / whole for masks in kept]
    yield Check("density", torch.tensor(shares), g.out["density"])


def mk_ram(g: Golden) -> Iterator[Check]:
    return g.checks(merge("ram", g.base, g.experts, g.ones, g.params["parameters"]))


def mk_ramplus(g: Golden) -> Iterator[Check]:
    return g.checks(merge("ramplus_tl", g.base, g.experts, g.ones, g.params["parameters"]))


def mk_sce(g: Golden) -> Iterator[Check]:
    given = {"density": g.params["parameters"]["select_topk"]}
    return g.checks(merge("sce", g.base, g.experts, g.ones, given))


def mk_arcee(g: Golden) -> Iterator[Check]:
    expert = g.experts[g.params["models"][0]]
    merged = merge("arcee_fusion", g.base, [expert], [1.0])
    yield from g.checks(merged)
    for name, x in merged.items():
        yield Check(f"{name}: what is taken over", x != g.base[name], g.out[name] != g.base[name], exact=True)


RUNNERS: Runners = (
    (r"breadcrumbs_keep", "breadcrumbs", breadcrumbs),
    (r"breadcrumbs_TaskVectorTopKKeep", "breadcrumbs", top_keep),
    (r"breadcrumbs_TaskVectorTopKZero", "breadcrumbs", top_zero),
    (r"mk_breadcrumbs_ties", "breadcrumbs_ties", mk_breadcrumbs_ties),
    (r"mk_breadcrumbs", "breadcrumbs", mk_breadcrumbs),
    (r"della_magprune_row", "della_linear", della_of("row")),
    (r"della_magprune_layer", "della_linear", della_of("layer")),
    (r"della_magprune_norank", "della_linear", della_of("norank")),
    (r"mk_della_linear", "della_linear", mk_della_linear),
    (r"mk_della", "della", mk_della),
    (r"mk_dare_linear", "dare_linear", mk_dare_linear),
    (r"mk_dare_ties", "dare_ties", mk_dare_ties),
    (r"pcb_es", "pcb", pcb_of("vision-es")),
    (r"pcb_vision", "pcb", pcb_of("vision")),
    (r"pcb_nlp", "pcb", pcb_of("nlp")),
    (r"pcb_root", "pcb", pcb_of("root")),
    (r"emr_flat", "emr", emr_flat),
    (r"emr_pertensor", "emr", emr_tensor),
    (r"magmask", "magnitude_mask", magnitude_mask),
    (r"peft_magnitude", "magnitude_prune", peft_prune),
    (r"dare_magnitude", "magnitude_prune", mergelm_prune),
    (r"mk_sparsify", "magnitude_prune, breadcrumbs", mk_sparsify),
    (r"magmax", "magmax", magmax),
    (r"localize_stitch", "localize_stitch", localize),
    (r"mk_ramplus_tl", "ramplus_tl", mk_ramplus),
    (r"mk_ram", "ram", mk_ram),
    (r"mk_sce", "sce", mk_sce),
    (r"mk_arcee", "arcee_fusion", mk_arcee),
)


def cases() -> list[Case]:
    """The cases of this group."""
    return cases_in(RUNNERS)
