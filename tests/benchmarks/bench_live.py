"""Live scores on bench8-text: how fast an estimate is, how long its derivatives take, and how true it is.

python -m tests.benchmarks.bench_live [--rows 64] [--moves 200] [--cores 2] [--second]

A move is a change of the factors of the task vectors (what a coefficient times the scale comes to), at most 0.3 for
each: a quarter each of single faders (one expert, one group), one expert's layer, one expert's row, and everything at
random. Estimates are compared with true scores of the same rows. Signs are judged where the true score changes by
more than one row, the resolution of the score; an estimate of no change then counts as wrong. Signs of the loss are
judged where the true loss changes by more than 0.01 nat.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.bench8 import FOLDER, bench_recipe, bench_tasks

if TYPE_CHECKING:
    from engine.preview.session import Live
    from engine.preview.surrogate import Surrogate

KINDS = ("one fader", "one layer", "one row", "everything")


def random_move(live: Live, kind: str, generator: np.random.Generator) -> np.ndarray:
    """(T, G) change of a point."""
    from engine.preview.frame import by_layer

    experts, groups = live.reference.shape
    move = np.zeros((experts, groups))
    t, amount = int(generator.integers(experts)), float(generator.uniform(-0.3, 0.3))
    if kind == "one fader":
        move[t, int(generator.integers(groups))] = amount
    elif kind == "one layer":
        layers = list(by_layer(live.frame.layout).values())
        move[t, list(layers[int(generator.integers(len(layers)))])] = amount
    elif kind == "one row":
        move[t] = amount
    else:
        move = generator.uniform(-0.3, 0.3, move.shape)
    return move


def truth(live: Live, surrogate: Surrogate, moves: int) -> None:
    """Compare estimates with true scores."""
    from engine.preview.surrogate import estimate

    generator, base = np.random.default_rng(7), live.judge(live.logits)
    table: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in KINDS}
    for number in range(moves):
        kind = KINDS[number % len(KINDS)]
        point = live.reference + random_move(live, kind, generator)
        for was, guess, true in zip(base, estimate(surrogate, point), live.truth(point), strict=True):
            row = (guess.correct - was.correct, true.correct - was.correct, true.count,
                   guess.loss - was.loss, true.loss - was.loss)  # fmt: skip
            table[kind].append(row)
    print(f"\n{moves} random moves up to 0.3, {len(base)} tasks of {base[0].count} rows each")
    print(f"{'':12} {'mean |error|':>13} {'signs':>18} {'loss |error|':>13} {'loss signs':>18}")
    for kind, found in (*table.items(), ("all", [row for part in table.values() for row in part])):
        print(f"{kind:12} {verdict(np.array(found))}")


def verdict(rows: np.ndarray) -> str:
    """One line about (R, 5) comparisons."""
    guess, true, count, guessed_loss, true_loss = rows.T
    error = float(np.mean(np.abs(guess - true) / count)) * 100
    large, heavy = np.abs(true) > 1, np.abs(true_loss) > 0.01
    right = np.sign(guess[large]) == np.sign(true[large])
    loss_right = np.sign(guessed_loss[heavy]) == np.sign(true_loss[heavy])
    loss_error = float(np.mean(np.abs(guessed_loss - true_loss))) / max(float(np.mean(np.abs(true_loss))), 1e-9) * 100
    return (f"{error:7.2f} points {share(right):>18} {loss_error:11.1f} % {share(loss_right):>18}")  # fmt: skip


def share(right: np.ndarray) -> str:
    """ "97.5 % of 120"."""
    return f"{100 * float(right.mean()):.1f} % of {len(right)}" if len(right) else "none"


def timed(work: Callable[[], Any]) -> float:
    """Seconds that something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def speed(live: Live, surrogate: Surrogate) -> None:
    """From a recipe with a moved fader to estimates of all tasks."""
    from engine.preview.surrogate import estimate
    from engine.recipe.recipe import Rule

    generator, groups = np.random.default_rng(1), live.frame.layout.groups
    recipe, times = bench_recipe(), {kind: list[float]() for kind in ("one fader", "one row", "everything")}
    for number in range(300):
        kind = list(times)[number % 3]
        t, g = int(generator.integers(len(recipe.experts))), int(generator.integers(len(groups)))
        place, value = groups[g].place, float(generator.uniform(0.2, 1.8))
        expert = recipe.experts[t].id if kind != "everything" else None
        layer, group = (place.layer, place.kind) if kind == "one fader" else (None, None)
        moved = recipe.with_rules([Rule(expert=expert, layer=layer, kind=group, value=value)])
        if kind == "everything":
            moved = moved.with_rules(
                Rule(expert=ref.id, layer=p.place.layer, kind=p.place.kind, value=float(generator.uniform(0.2, 1.8)))
                for ref in recipe.experts for p in groups
            )  # fmt: skip
        times[kind].append(timed(lambda r=moved: estimate(surrogate, live.frame.point(r))) * 1000)  # type: ignore[misc]
    print(f"\nfader move to refreshed estimates of all tasks, ms (load {os.getloadavg()[0]:.1f})")
    for kind, values in times.items():
        ranked = sorted(values)
        print(f"{kind:12} p50 {statistics.median(ranked):6.2f}   p95 {ranked[int(len(ranked) * 0.95)]:6.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--second", action="store_true", help="fill in second derivatives, too")
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    if not FOLDER.is_dir():
        print(f"{FOLDER} is not here: nothing to measure")
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    from engine.merge.inputs import open_inputs
    from engine.preview.fill import fill
    from engine.preview.frame import by_layer
    from engine.preview.session import open_live

    recipe = bench_recipe()
    started = time.perf_counter()
    live = open_live(recipe, open_inputs(recipe), bench_tasks(), rows=given.rows)
    print(f"open {time.perf_counter() - started:.1f} s, {live.report.rows} rows a task, load {os.getloadavg()[0]:.1f}")
    print(f"memory: task vectors {live.report.weight_bytes / 2**20:.0f} MiB, "
          f"activations {live.report.activation_bytes / 2**20:.0f} MiB")  # fmt: skip
    print(f"evaluation of everything {min(timed(lambda: live.move(live.reference)) for _ in range(3)):.2f} s")
    for layer, groups in by_layer(live.frame.layout).items():
        point = live.reference.copy()
        point[0, list(groups)] += 0.1
        print(f"  from layer {layer:4} on {min(timed(lambda p=point: live.at(p)) for _ in range(3)):.2f} s")  # type: ignore[misc]
    print(f"slopes of all faders {timed(lambda: live.slopes()):.2f} s")
    surrogate = live.surrogate()
    print(f"surrogate: {surrogate.basis.size} directions, {surrogate.bytes / 2**20:.0f} MiB")
    print(f"  first derivatives {timed(lambda: fill(live, surrogate, second=False)):.1f} s", flush=True)
    if given.second:
        print(f"  second derivatives {timed(lambda: fill(live, surrogate)):.1f} s", flush=True)
    speed(live, surrogate)
    truth(live, surrogate, given.moves)


if __name__ == "__main__":
    main()
