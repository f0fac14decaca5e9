"""Golden cases of the methods that work with singular values: TSV, Iso, STAR and the post-processor SVC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from engine.methods import find, post
from tests.engine.golden_cases import Case, Check, Golden, Runners, cases_in, part
from tests.engine.memory_view import merge_kernel, view_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.memory_view import State


def tsv_m(g: Golden, variant: str, **params: object) -> Iterator[Check]:
    for guard in (True, False):
        yield from g.checks(g.kernel("tsv_m", g.ones, variant=variant, guard=guard, **params))


def tsv_merge(g: Golden) -> Iterator[Check]:
    """The rank is the paper's, which is also what it is as a share."""
    yield from tsv_m(g, "svd")
    yield from g.checks(g.kernel("tsv_m", g.ones, rank=1 / len(g.experts), small="zero"))


def tsv_eigen(g: Golden) -> Iterator[Check]:
    return tsv_m(g, "eigen")


def tsv_lossless(g: Golden) -> Iterator[Check]:
    return tsv_m(g, "lossless")


def tsv_sum(g: Golden) -> Iterator[Check]:
    return tsv_m(g, "sum")


def tsv_compress(g: Golden) -> Iterator[Check]:
    for t in range(len(g.experts)):
        for params in ({}, {"rank": g.params["fraction"]}):
            restored = g.kernel("tsv_c", g.ones, task=f"e{t}", **params)
            yield from g.checks(restored, f"recon{t}/")


def iso_c(g: Golden) -> Iterator[Check]:
    for guard in (True, False):
        yield from g.checks(g.kernel("iso_c", g.ones, guard=guard))


def iso_cts(g: Golden) -> Iterator[Check]:
    for guard in (True, False):
        params = {"common": g.params["common_space_fraction"], "guard": guard}
        yield from g.checks(g.kernel("iso_cts", g.ones, **params))


def star(g: Golden) -> Iterator[Check]:
    """IBM's code gives one matrix a task; one expert alone, and the mean of all."""
    names = list(part(g.out, "task0/"))
    method, params = find("star"), {"eta": g.params["eta"] / 100}
    base, mean = part_of(g.base, names), g.kernel("star", g.ones, **params)
    for t, expert in enumerate(g.experts):
        alone = merge_kernel(view_of(method, base, [part_of(expert, names)], [1.0]), method, params)
        yield from g.checks(alone, f"task{t}/")
    for name in names:
        tasks = torch.stack([g.out[f"task{t}/{name}"] for t in range(len(g.experts))])
        yield Check(f"mean {name}", mean[name], tasks.mean(0))


def star_svc(g: Golden) -> Iterator[Check]:
    return g.checks(g.kernel("star", g.ones, eta=g.params["eta"] / 100, variant="svc"))


def part_of(state: State, names: list[str]) -> State:
    return {name: state[name] for name in names}


def calibrated(g: Golden, variant: str) -> State:
    """SVC after task arithmetic with 0.3."""
    merged = g.kernel("task_arithmetic", g.ones, scale=0.3)
    return {
        name: post.calibrate(
            g.base[name],
            [e[name] - g.base[name] for e in g.experts],
            g.ones,
            merged[name],
            name=name,
            alpha=g.params["alpha"],
            variant=variant,
        )
        for name in g.base
    }


def svc(g: Golden) -> Iterator[Check]:
    return g.checks(calibrated(g, "official"))


def svc_fusion_bench(g: Golden) -> Iterator[Check]:
    """The record holds merged weights, of matrices only."""
    got = calibrated(g, "fusion_bench")
    for name, want in g.out.items():
        yield Check(name, g.base[name] + got[name], want)


RUNNERS: Runners = (
    (r"tsvm$", "tsv_m", tsv_merge),
    (r"tsvm_eigen", "tsv_m", tsv_eigen),
    (r"tsvm_lossless", "tsv_m", tsv_lossless),
    (r"tsv_lowrank_sum", "tsv_m", tsv_sum),
    (r"tsvc", "tsv_c", tsv_compress),
    (r"iso_c$", "iso_c", iso_c),
    (r"iso_cts", "iso_cts", iso_cts),
    (r"star_svcrepo", "star", star_svc),
    (r"star_eta", "star", star),
    (r"svc_fusionbench", "svc (post)", svc_fusion_bench),
    (r"svc_ta", "svc (post)", svc),
)


def cases() -> list[Case]:
    """The cases of this group."""
    return cases_in(RUNNERS)
