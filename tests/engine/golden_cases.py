"""The golden cases: what the authors' own code gives on small inputs, and how Mixdown is asked the same.

Every runner goes through the declared method (survey, measure and kernel, by `memory_view`) where the
variant is one that the method offers, else through the same steps, fed as the other implementation feeds
them (a recorded mask, another rescaling). A check says what to compare and how strictly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine import steps
from engine.methods import find
from engine.steps.elect import Ballot, Election
from tests.engine.memory_view import MemoryView, State, merge, merge_kernel, view_of

if TYPE_CHECKING:
    from engine.steps.disjoint import Merge
    from engine.steps.view import Span

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


@dataclass(frozen=True)
class Check:
    """One comparison with the reference.

    `exact`: masks, counts and signs, bit by bit; otherwise floats: relative to the reference's largest
    magnitude, or for bf16 in units of the last place of the larger result, or of `terms`: the magnitude of
    what a reference that rounds to bf16 on its way added up.
    """

    what: str
    got: Tensor
    want: Tensor
    exact: bool = False
    terms: Tensor | None = None

    @property
    def error(self) -> float:
        """Largest absolute difference; NaN anywhere counts as infinite."""
        assert self.got.shape == self.want.shape, self.what
        if self.got.numel() == 0:
            return 0.0
        away = (self.got.double() - self.want.double()).abs()
        return float("inf") if away.isnan().any() else float(away.max())

    @property
    def ulps(self) -> float:
        """Largest difference in bf16 units of the last place."""
        size = torch.maximum(self.got.abs(), self.want.abs()).double()
        if self.terms is not None:
            size = torch.maximum(size, self.terms.abs().double())
        unit = torch.ldexp(torch.ones_like(size), torch.frexp(size.clamp_min(1e-38)).exponent - 8)
        return float(((self.got.double() - self.want.double()).abs() / unit).max())

    def holds(self, relative: float = 1e-5, ulps: int = 2) -> bool:
        if self.exact:
            return self.error == 0
        if self.want.dtype == torch.bfloat16:
            return self.got.dtype == torch.bfloat16 and self.ulps <= ulps
        return self.error <= relative * float(self.want.abs().max())


@dataclass(frozen=True)
class Case:
    id: str
    entry: dict[str, Any]
    method: str
    run: Callable[[Golden], Iterator[Check]]


class Golden:
    """A case's inputs and recorded outputs."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.params: dict[str, Any] = entry["params"]
        given = load_inputs(entry["inputs"].split()[0])
        self.out = load_file(GOLDEN / entry["file"])
        self.base = part(given, "base/")
        self.experts = [part(given, f"ft{t}/") for t in range(len({k.split("/")[0] for k in given}) - 1)]
        self.flat = sum(x.numel() for x in self.base.values())

    @property
    def ones(self) -> list[float]:
        return [1.0] * len(self.experts)

    def mergekit(self) -> tuple[dict[str, Any], list[float]]:
        """mergekit's parameters, and the weights of all models."""
        params = self.params["parameters"]
        weight = params.get("weight", 1.0)
        models = range(len(self.experts))
        return params, [weight[f"m{t}"] if isinstance(weight, dict) else weight for t in models]

    def kernel(self, method: str, weights: list[float], base: State | None = None, **params: Any) -> State:
        """The merged task vectors as the method's kernel gives them."""
        view = view_of(find(method), self.base if base is None else base, self.experts, weights)
        masks = params.pop("masks", None)
        return merge_kernel(view, find(method), params, **({"masks": masks} if masks else {}))

    def masks(self, prefix: str, kept: int) -> Callable[[Span, int, float], Tensor]:
        """The recorded masks as a source of 1 (kept) and 0; the record says `kept` where an element was kept."""
        return lambda span, model, _: (
            self.out[f"{prefix}{model}/{span.tensor}"].reshape(-1)[span.start : span.stop] == kept
        ).float()

    def checks(self, got: State, prefix: str = "") -> Iterator[Check]:
        """Compare every recorded tensor of this prefix."""
        wanted = part(self.out, prefix)
        assert not {n for n in wanted if n not in got and wanted[n].is_floating_point()}
        for name in got:
            yield Check(name, got[name], wanted[name])


@cache
def load_inputs(name: str) -> State:
    return load_file(GOLDEN / "inputs" / f"{name}.safetensors")


def part(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): state[k] for k in sorted(state) if k.startswith(prefix)}


def flat(state: State) -> Tensor:
    """All tensors in one row, in sorted order."""
    return torch.cat([state[name].reshape(-1) for name in sorted(state)])


def zeros_like(state: State) -> State:
    return {name: torch.zeros_like(x) for name, x in state.items()}


def kept_by(view: MemoryView, cuts: Any) -> list[Tensor]:
    """The trimmed task vectors (T rows) of a whole view."""
    rows = [steps.trim.trim_all(chunk.deltas, cuts) for name in view.base for chunk in view.chunks(name)]
    return [torch.cat([row[t] for row in rows]) for t in range(view.models)]


# -- linear ------------------------------------------------------------------------------------------------


def basic(g: Golden) -> Iterator[Check]:
    """Mean, median and magnitude of whole checkpoints: TIES without trimming and election, from a base of 0."""
    how = g.params["agg"]
    if how == "mean":
        yield from g.checks(merge("linear", g.base, g.experts, g.ones))
    merged = g.kernel("ties", g.ones, zeros_like(g.base), density=1.0, elect="none", merge=f"all-{how}")
    yield from g.checks(merged)


def mergelm_average(g: Golden) -> Iterator[Check]:
    return g.checks(merge("linear", g.base, g.experts, g.ones))


def mk_linear(g: Golden) -> Iterator[Check]:
    params, weights = g.mergekit()
    return g.checks(merge("linear", g.base, g.experts, weights, {"normalise": params["normalize"]}))


def mk_slerp(g: Golden) -> Iterator[Check]:
    return g.checks(merge("slerp", g.base, g.experts[:1], [g.params["parameters"]["t"]]))


# -- task arithmetic -------------------------------------------------------------------------------------


def task_arithmetic(g: Golden) -> Iterator[Check]:
    scale = g.params.get("lam", g.params.get("scaling_coefficient"))
    return g.checks(merge("task_arithmetic", g.base, g.experts, g.ones, {"scale": scale}))


def negation(g: Golden) -> Iterator[Check]:
    weights = [0.0 if t != g.params["task"] else -g.params["lam"] for t in range(len(g.experts))]
    return g.checks(merge("task_arithmetic", g.base, g.experts, weights, {"scale": 1.0}))


def analogy(g: Golden) -> Iterator[Check]:
    weights = [0.0] * len(g.experts)
    weights[g.params["C"]], weights[g.params["B"]], weights[g.params["A"]] = 1.0, 1.0, -1.0
    return g.checks(merge("task_arithmetic", g.base, g.experts, weights, {"scale": g.params["lam"]}))


def mk_task_arithmetic(g: Golden) -> Iterator[Check]:
    """mergekit rounds every step to bf16, Mixdown only the result: 2 ulp of what is added up, and the truth."""
    params, weights = g.mergekit()
    scale = params.get("lambda", 1.0)
    merged = merge("task_arithmetic", g.base, g.experts, weights, {"scale": scale})
    for name, base in g.base.items():
        deltas = [(e[name].double() - base.double()) * w * scale for e, w in zip(g.experts, weights, strict=True)]
        terms = base.double().abs() + sum(d.abs() for d in deltas)
        yield Check(name, merged[name], g.out[name], terms=terms)
        yield Check(f"{name} in float64", merged[name], (base.double() + sum(deltas)).to(base.dtype))


def peft_task_arithmetic(g: Golden) -> Iterator[Check]:
    return g.checks(g.kernel("task_arithmetic", g.params["weights"], scale=1.0))


# -- TIES ------------------------------------------------------------------------------------------------

TRIMS = {"topk": "topk", "std": "std", "nf": "normfrac", "": "topk"}
MERGES = {
    "dis-mean": "mean",
    "dis-sum": "sum",
    "dis-max": "max",
    "mean": "all-mean",
    "sum": "all-sum",
    "median": "all-median",
    "magnitude": "all-magnitude",
}


def fraction(thresh: float | str) -> float:
    """The official code takes thresholds above 1 as percent."""
    return 1.0 if thresh == "none" else float(thresh) / 100 if float(thresh) > 1 else float(thresh)


def ties(g: Golden) -> Iterator[Check]:
    """Official TIES: merged models, or merged task vectors with trimmed counts and elected signs."""
    how, reset = MERGES[g.params["merge"]], g.params.get("reset", "topk")
    trim, elect = TRIMS[reset], g.params.get("resolve", "mass")
    density = fraction(g.params["thresh"])
    given = {"density": density, "trim": trim, "elect": elect or "none", "merge": how}
    if trim == "std":
        given |= {"deviations": density, "density": 0.2}
    if "lam" in g.params:
        yield from g.checks(merge("ties", g.base, g.experts, g.ones, {**given, "scale": g.params["lam"]}))
        return
    merged = g.kernel("ties", g.ones, **given)
    if trim == "normfrac":  # the official mask also keeps the very last element, see the help of TIES
        got, want = flat(merged), flat(part(g.out, "merged_tv/"))
        yield Check("all but the last", got[:-1], want[:-1])
        return
    yield from g.checks(merged, "merged_tv/")
    yield from ties_details(g, given)


def ties_details(g: Golden, given: dict[str, Any]) -> Iterator[Check]:
    """How many elements are kept of each task vector, and the elected signs of all elements."""
    if "aux/trim_keep_count" not in g.out:
        return
    view = view_of(find("ties"), g.base, g.experts, g.ones)
    stats = find("ties").survey(view, **find("ties").complete(given))
    kept = kept_by(view, stats.cuts)
    deltas = [flat(e) - flat(g.base) for e in g.experts]
    counts = [
        int((d.abs() >= cut.limit).sum() if cut.limit >= 0 else d.numel())
        for d, cut in zip(deltas, stats.cuts, strict=True)
    ]
    for delta, left, cut in zip(deltas, kept, stats.cuts, strict=True):
        assert torch.equal(left, torch.where(delta.abs() >= cut.limit, delta, 0.0))
    yield Check("kept", torch.tensor(counts), g.out["aux/trim_keep_count"], exact=True)
    if "aux/elected_sign" in g.out:
        sign = steps.elect.signs(kept, given["elect"], stats)
        yield Check("signs", sign, g.out["aux/elected_sign"], exact=True)


def mergelm_ties(g: Golden) -> Iterator[Check]:
    """MergeLM drops int(d * rate) elements and keeps ties: the density that keeps as many."""
    given = {"density": mergelm_density(g), "scale": g.params["scaling_coefficient"]}
    return g.checks(merge("ties", g.base, g.experts, g.ones, given))


def mergelm_density(g: Golden) -> float:
    return (g.flat - int(g.flat * g.params["param_value_mask_rate"])) / g.flat


def breadcrumbs_ties(g: Golden) -> Iterator[Check]:
    """The TIES of the Breadcrumbs repository: trims like the official one, sums those that agree."""
    merged = g.kernel("ties", g.ones, density=g.params["top_k_keep"], merge="mean")
    yield Check("merged", flat(merged), g.out["merged_tv"])


def mk_ties(g: Golden) -> Iterator[Check]:
    given, weights = mk_ties_params(g)
    return g.checks(merge("ties", g.base, g.experts, weights, given))


def mk_ties_params(g: Golden) -> tuple[dict[str, Any], list[float]]:
    """mergekit's TIES in the words of ours."""
    params, weights = g.mergekit()
    given = {"density": params["density"], "scale": params.get("lambda", 1.0), "trim": "count",
             "trim_scope": "tensor", "merge": "weighted" if params.get("normalize", True) else "sum",
             "zero_sum": "positive"}  # fmt: skip
    return given, weights


def mk_ties_tied(g: Golden) -> Iterator[Check]:
    """Magnitudes tie at the threshold: the reference must be one of the possible choices, ours keeps them all."""
    given, weights = mk_ties_params(g)
    merged = merge("ties", g.base, g.experts, weights, given)
    for name in g.base:
        deltas = [(e[name].float() - g.base[name].float()).reshape(-1) for e in g.experts]
        rank = max(1, int(deltas[0].numel() * given["density"]))
        limits = [float(d.abs().sort(descending=True).values[rank - 1]) for d in deltas]
        ours = [torch.where(d.abs() >= limit, d, 0.0) for d, limit in zip(deltas, limits, strict=True)]
        view = view_of(find("ties"), {name: g.base[name]}, g.experts, weights)
        kept = kept_by(view, steps.trim.cuts(view, "count", given["density"]))
        assert all(torch.equal(a, b) for a, b in zip(kept, ours, strict=True))
        counts = torch.tensor([[int((d.abs() > limit).sum()), rank, int((d.abs() >= limit).sum())]
                               for d, limit in zip(deltas, limits, strict=True)])  # fmt: skip
        yield Check(f"{name}: more kept than tied", counts.sort(dim=1).values, counts, exact=True)
        yield possible(g, name, deltas, limits, given, weights, merged[name])


def possible(
    g: Golden, name: str, deltas: list[Tensor], limits: list[float], given: dict[str, Any], weights: list[float],
    merged: Tensor,
) -> Check:  # fmt: skip
    """The choice nearest to the reference among all ways to keep or drop tied elements."""
    want, base = g.out[name].reshape(-1).float(), g.base[name].reshape(-1).float()
    best, tied = merged.reshape(-1).float().clone(), torch.zeros(want.shape, dtype=torch.bool)
    for d, limit in zip(deltas, limits, strict=True):
        tied |= d.abs() == limit
    for choice in product((False, True), repeat=len(deltas)):
        kept = [torch.where((d.abs() >= limit) if keep else (d.abs() > limit), d, 0.0) * w
                for d, limit, w, keep in zip(deltas, limits, weights, choice, strict=True)]  # fmt: skip
        sign = steps.elect.signs(kept, "mass", Ballot((), (), 1))
        value = base + steps.disjoint.merge(kept, sign, given["merge"], weights) * given["scale"]
        best = torch.where(tied & ((value - want).abs() < (best - want).abs()), value, best)
    return Check(name, best, want)


def peft_prune(g: Golden) -> Iterator[Check]:
    """PEFT's magnitude pruning: trimmed task vectors, weighted and added."""
    given = {"density": g.params["density"], "trim": "count", "trim_scope": "tensor", "elect": "none", "merge": "sum"}
    return g.checks(g.kernel("ties", g.params["weights"], **given))


def peft_ties(g: Golden) -> Iterator[Check]:
    """PEFT elects without the weights; a variant of the steps that Mixdown does not offer."""
    merged = by_steps(g, "count", g.params["density"], "mass", "mean", [float(w) for w in g.params["weights"]])
    return g.checks(merged)


def by_steps(g: Golden, trim: Any, density: float, elect: Election, how: Merge, weights: list[float]) -> State:
    """TIES of each tensor with an unweighted election."""
    out = {}
    for name in g.base:
        view = view_of(find("ties"), {name: g.base[name]}, g.experts, g.ones)
        kept = kept_by(view, steps.trim.cuts(view, trim, density))
        sign = steps.elect.signs(kept, elect, Ballot((), (), 1))
        merged = steps.disjoint.merge(steps.reduce.scaled(kept, weights), sign, how, weights)
        out[name] = merged.reshape(g.base[name].shape)
    return out


def mk_sparsify(g: Golden) -> Iterator[Check]:
    """mergekit's magnitude trim of one task vector (its other sparsifiers are not ours)."""
    names = sorted(k.removeprefix("magnitude_0.3/") for k in g.out if k.startswith("magnitude_0.3/"))
    for name in names:
        view = view_of(find("ties"), {name: g.base[name]}, g.experts[:1], [1.0])
        kept = kept_by(view, steps.trim.cuts(view, "count", 0.3))[0]
        yield Check(name, kept.reshape(g.base[name].shape), g.out[f"magnitude_0.3/{name}"])


# -- DARE ------------------------------------------------------------------------------------------------


def dare_mask(g: Golden) -> Iterator[Check]:
    """One task vector at a time with the recorded mask: DARE linear with one expert heard."""
    given = {"density": 1 - g.params["drop_rate"], "rescale": g.params["rescale"], "scale": 1.0}
    for t in range(len(g.experts)):
        weights = [float(t == s) for s in range(len(g.experts))]
        merged = g.kernel("dare_linear", weights, masks=g.masks("drop", 0), **given)
        yield from (Check(f"{t}: {c.what}", c.got, c.want) for c in g.checks(merged, f"masked{t}/"))


def dare_merge(g: Golden) -> Iterator[Check]:
    """DARE, then average, task arithmetic or TIES."""
    density, masks = 1 - g.params["drop_rate"], g.masks("drop", 0)
    if "param_value_mask_rate" in g.params:
        method, given = "dare_ties", {"trim": mergelm_density(g), "scale": g.params["scaling_coefficient"]}
    else:
        method, given = "dare_linear", {"scale": g.params.get("scaling_coefficient", 1 / len(g.experts))}
    merged = merge(method, g.base, g.experts, g.ones, {"density": density, **given}, masks=masks)
    return g.checks(merged, "model/")


def dare_magnitude(g: Golden) -> Iterator[Check]:
    """MergeLM's baseline: drops the int(n * p) smallest of each tensor and those that tie, and rescales."""
    for name in g.base:
        view = view_of(find("ties"), {name: g.base[name]}, g.experts, g.ones)
        limits = steps.select.kth_magnitudes(view, int(view.numel * g.params["drop_rate"]))
        kept = kept_by(view, [steps.trim.Cut(limit) for limit in limits])
        for t, x in enumerate(kept):
            got = x.reshape(g.base[name].shape) / (1 - g.params["drop_rate"])
            yield Check(f"{t}: {name}", got, g.out[f"masked{t}/{name}"])


def mk_dare(g: Golden) -> Iterator[Check]:
    """mergekit rescales to the L1 norm of each tensor: recorded masks that carry this factor, none of ours."""
    params, weights = g.mergekit()
    keep, factors = g.masks("keep", 1), {}
    for t, expert in enumerate(g.experts):
        for name in g.base:
            delta, mask = expert[name] - g.base[name], g.out[f"keep{t}/{name}"].float()
            factors[t, name] = float(delta.abs().sum() / (delta * mask).abs().sum())
    scaled = {"masks": lambda span, t, p: keep(span, t, p) * factors[t, span.tensor]}
    given = {"density": params["density"], "rescale": False, "scale": 1.0}
    if "model/" + next(iter(g.base)) in g.out and g.params.get("elect"):
        given["trim"] = 1.0
        return g.checks(merge("dare_ties", g.base, g.experts, weights, given, **scaled), "model/")
    return g.checks(merge("dare_linear", g.base, g.experts, weights, given, **scaled), "model/")


def mk_dare_ties(g: Golden) -> Iterator[Check]:
    """The same, then elected with sign + for 0 and added: DARE's step, then TIES that trims nothing."""
    params, weights = g.mergekit()
    dropped = []
    for t, expert in enumerate(g.experts):
        left = {}
        for name in g.base:
            delta, mask = expert[name] - g.base[name], g.out[f"keep{t}/{name}"].float()
            kept = steps.drop.drop(delta, mask, params["density"], rescale=False)
            left[name] = kept * (delta.abs().sum() / kept.abs().sum())
        dropped.append(left)
    given = {"density": 1.0, "trim_scope": "tensor", "merge": "sum", "zero_sum": "positive"}
    view = view_of(find("ties"), zeros_like(g.base), dropped, weights)
    merged = merge_kernel(view, find("ties"), given)
    return g.checks({name: g.base[name] + merged[name] for name in g.base}, "model/")


# -- TALL masks -----------------------------------------------------------------------------------------


def tall(g: Golden) -> Iterator[Check]:
    """Multi-task vector, masks at every lambda, restored tasks and consensus."""
    given = {"vector": "ties" if "ties" in g.params["mtl"] else "ta", "density": 0.2}
    merged = flat(g.kernel("consensus", g.ones, k=0, scale=1.0, **given))
    yield Check("multi-task vector", merged, g.out["merged_tv"])
    deltas = [flat(e) - flat(g.base) for e in g.experts]
    for strictness in g.params["lambdas"]:
        masks = torch.stack([steps.masks.tall_mask(d, merged, strictness) for d in deltas])
        if f"mask_lam{strictness}" in g.out:
            yield Check(f"masks {strictness}", masks, g.out[f"mask_lam{strictness}"], exact=True)
        else:
            counts = masks.long().sum(dim=1)
            yield Check(f"counts {strictness}", counts, g.out[f"popcount_lam{strictness}"], exact=True)
    yield from tall_shared(g, deltas, merged)
    for t, strictness in enumerate(g.params["picked"]):
        if f"recon{t}" in g.out:
            asked = {**given, "task": f"e{t}", "strictness": strictness}
            restored = merge("tall_mask", g.base, g.experts, g.ones, asked)
            yield Check(f"restored {t}", flat(restored), g.out[f"recon{t}"])


def tall_shared(g: Golden, deltas: list[Tensor], merged: Tensor) -> Iterator[Check]:
    """Consensus of masks, each with the lambda that was picked for its task."""
    picked = g.params["picked"]
    counts = sum(steps.masks.tall_mask(d, merged, lam) for d, lam in zip(deltas, picked, strict=True))
    assert isinstance(counts, Tensor)
    for k in range(len(deltas) + 2):
        keep = steps.masks.shared(counts, k)
        if f"consensus_k{k}" in g.out:
            yield Check(f"consensus {k}", keep, g.out[f"consensus_k{k}"], exact=True)
            yield Check(f"consensus vector {k}", merged * keep, g.out[f"consensus_tv_k{k}"])
        elif f"consensus_popcount_k{k}" in g.out:
            yield Check(f"consensus {k}", keep.long().sum(), g.out[f"consensus_popcount_k{k}"], exact=True)


def magnitude_mask(g: Golden) -> Iterator[Check]:
    """The trim of TIES as a mask of the summed task vectors."""
    view = view_of(find("ties"), g.base, g.experts, g.ones)
    cuts = steps.trim.cuts(view, "topk", g.params["K"] / 100)
    total = flat(g.kernel("task_arithmetic", g.ones, scale=1.0))
    deltas = [flat(e) - flat(g.base) for e in g.experts]
    masks = torch.stack([(d.abs() >= cut.limit).float() for d, cut in zip(deltas, cuts, strict=True)])
    kept = kept_by(view, cuts)
    assert all(torch.equal(k, d * m) for k, d, m in zip(kept, deltas, masks, strict=True))
    yield Check("masks", masks, g.out["mask"], exact=True)
    yield Check("masked", masks * total, g.out["masked_mtl"])


Runner = Callable[[Golden], Iterator[Check]]
Runners = tuple[tuple[str, str, Runner], ...]
"""Pattern of the start of case ids, method, and what runs such a case; the first that fits counts."""

RUNNERS: Runners = (
    (r"basic_mean", "linear", basic),
    (r"basic_", "ties", basic),
    (r"mergelm_average", "linear", mergelm_average),
    (r"mk_linear", "linear", mk_linear),
    (r"mk_slerp", "slerp", mk_slerp),
    (r"ta_negation", "task_arithmetic", negation),
    (r"ta_analogy", "task_arithmetic", analogy),
    (r"ta_sum|mergelm_task", "task_arithmetic", task_arithmetic),
    (r"mk_task_arithmetic", "task_arithmetic", mk_task_arithmetic),
    (r"peft_task_arithmetic", "task_arithmetic", peft_task_arithmetic),
    (r"ties_", "ties", ties),
    (r"mergelm_ties", "ties", mergelm_ties),
    (r"breadcrumbs_repo_ties", "ties", breadcrumbs_ties),
    (r"mk_ties_Q_d|mk_ties_A_bf16", "ties", mk_ties_tied),
    (r"mk_ties", "ties", mk_ties),
    (r"peft_magnitude", "ties", peft_prune),
    (r"peft_ties", "ties (steps)", peft_ties),
    (r"mk_sparsify", "ties (steps)", mk_sparsify),
    (r"dare_mask", "dare_linear", dare_mask),
    (r"dare_ties", "dare_ties", dare_merge),
    (r"dare_average|dare_task", "dare_linear", dare_merge),
    (r"dare_magnitude", "dare (steps)", dare_magnitude),
    (r"mk_dare_linear", "dare_linear", mk_dare),
    (r"mk_dare_ties", "dare_ties (steps)", mk_dare_ties),
    (r"tall_", "tall_mask, consensus", tall),
    (r"magmask", "tall (steps)", magnitude_mask),
)


def runner_in(runners: Runners, case_id: str) -> tuple[str, Runner] | None:
    """Which method and runner of a table a golden case is for; None if it is for none."""
    return next(((method, run) for pattern, method, run in runners if re.match(pattern, case_id)), None)


def cases_in(runners: Runners) -> list[Case]:
    """The cases in tests/golden that a table has a runner for, in the order of the manifest."""
    entries = json.loads((GOLDEN / "manifest.json").read_text("utf-8"))["cases"]
    pairs = [(entry, runner_in(runners, entry["id"])) for entry in entries]
    return [Case(entry["id"], entry, *pair) for entry, pair in pairs if pair is not None]


def all_cases() -> list[Case]:
    """The cases of this module; the others are those of the modules golden_*, see golden_table."""
    return cases_in(RUNNERS)


def tolerance(case: Case) -> float:
    """The manifest's: largest error relative to the tensor's largest value."""
    return float(case.entry.get("tolerance", {}).get("float_rel_to_max", 1e-5))


def checks(case: Case) -> list[Check]:
    return list(case.run(Golden(case.entry)))
