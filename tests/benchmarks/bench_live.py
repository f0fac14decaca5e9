"""Live scores on bench8-text: how fast an estimate is, how long its derivatives take, and how true it is.

python -m tests.benchmarks.bench_live [--rows 64] [--moves 200] [--cores 2] [--second] [--minutes 5] [--only truth]

A move is a change of the factors of the task vectors (what a coefficient times the scale comes to), at most 0.3 for
each: a quarter each of single faders (one expert, one group), one expert's layer, one expert's row, and everything at
random. Estimates are compared with true scores of the same rows. Signs are judged where the true score changes by
more than one row, the resolution of the score; an estimate of no change then counts as wrong. Signs of the loss are
judged where the true loss changes by more than 0.01 nat.

True outputs and derivatives are kept in a file of the temporary folder as they come: after the processor minutes that
are allowed, the next run goes on where this one stopped. True outputs are taken again when models or rows change,
derivatives when the code of the preview does.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.bench8 import FOLDER, bench_recipe, bench_tasks

if TYPE_CHECKING:
    from engine.preview.session import Live
    from engine.preview.surrogate import Surrogate

_MAKERS = ("basis", "fill", "frame", "session", "stages", "tower", "weights")
"""Modules on which derivatives depend."""
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


def truth(live: Live, surrogate: Surrogate, moves: int, kept: Kept) -> None:
    """Compare estimates with true scores, as far as the allowed time goes."""
    from engine.preview.surrogate import estimate

    generator, base = np.random.default_rng(7), live.judge(live.logits)
    table: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in KINDS}
    for number in range(moves):
        kind = KINDS[number % len(KINDS)]
        point = live.reference + random_move(live, kind, generator)
        flat = kept.array("true", number, lambda p=point: _flat(live.at(p)))
        if flat is None:
            continue
        for was, guess, true in zip(base, estimate(surrogate, point), live.judge(surrogate.split(flat)), strict=True):
            row = (guess.correct - was.correct, true.correct - was.correct, true.count,
                   guess.loss - was.loss, true.loss - was.loss)  # fmt: skip
            table[kind].append(row)
    done = sum(map(len, table.values())) // len(base)
    print(f"\n{done} random moves up to 0.3, {len(base)} tasks of {base[0].count} rows each")
    if done < moves:
        print(f"the allowed processor time is over: {moves - done} moves are left for the next run")
    print(f"{'':12} {'mean |error|':>13} {'signs':>18} {'loss |error|':>13} {'loss signs':>18}")
    for kind, found in (*table.items(), ("all", [row for part in table.values() for row in part])):
        if found:
            print(f"{kind:12} {verdict(np.array(found))}")


def _flat(logits: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.reshape(-1) for part in logits])


class Kept:
    """Arrays that were computed in earlier runs, in a folder; new ones only while there is processor time.

    Args:
        folder: Where they lie.
        minutes: Processor time that new ones may take.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._until = folder, time.process_time() + 60 * minutes

    @property
    def is_over(self) -> bool:
        """Whether the allowed time is over."""
        return time.process_time() > self._until

    def array(self, name: str, number: int, make: Callable[[], np.ndarray]) -> np.ndarray | None:
        """A kept array, or a new one that is kept from now on; None when the time is over."""
        path = self._folder / f"{name}-{number}.npy"
        if not path.exists():
            if self.is_over:
                return None
            made, part = make(), path.with_suffix(".part")
            with part.open("wb") as file:
                np.save(file, made)
            part.replace(path)
        found: np.ndarray = np.load(path, allow_pickle=False)
        return found


def _named(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def kept_for(live: Live, rows: int, minutes: float) -> tuple[Kept, Kept]:
    """Where true outputs and derivatives of these models and rows are kept."""
    import torch

    from engine import preview

    models = [(p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(FOLDER.rglob("*.safetensors"))]
    about = rows, live.reference.tolist(), models, torch.__version__
    code = [Path(preview.__path__[0], f"{name}.py").read_text("utf-8") for name in _MAKERS]
    home = Path(tempfile.gettempdir()) / f"mixdown-bench-live-{os.getuid() if hasattr(os, 'getuid') else 0}"
    return Kept(home / _named(*about), minutes), Kept(home / _named(*about, code), minutes)


def filled(live: Live, surrogate: Surrogate, kept: Kept) -> bool:
    """Fill in the first derivatives, those of earlier runs first; whether all are there."""
    from engine.preview.fill import fill

    for entry in range(surrogate.basis.size):

        def make(wanted: int = entry) -> np.ndarray:
            fill(live, surrogate, [wanted])
            made: np.ndarray = surrogate.first[wanted]
            return made

        found = kept.array("first", entry, make)
        if found is not None:
            surrogate.first[entry], surrogate.has_first[entry] = found, True
    return surrogate.filled >= 1


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
        times[kind].append(timed(lambda r=moved: estimate(surrogate, live.frame.point(r))) * 1000)
    print(f"\nfader move to refreshed estimates of all tasks, ms (load {os.getloadavg()[0]:.1f})")
    for kind, values in times.items():
        ranked = sorted(values)
        print(f"{kind:12} p50 {statistics.median(ranked):6.2f}   p95 {ranked[int(len(ranked) * 0.95)]:6.2f}")


def costs(live: Live, surrogate: Surrogate) -> None:
    """What evaluations, slopes and memory cost."""
    from engine.preview.frame import by_layer

    print(f"memory: task vectors {live.report.weight_bytes / 2**20:.0f} MiB, "
          f"activations {live.report.activation_bytes / 2**20:.0f} MiB")  # fmt: skip
    print(f"evaluation of everything {min(timed(lambda: live.move(live.reference)) for _ in range(3)):.2f} s")
    for layer, groups in by_layer(live.frame.layout).items():
        point = live.reference.copy()
        point[0, list(groups)] += 0.1
        print(f"  from layer {layer:4} on {min(timed(lambda p=point: live.at(p)) for _ in range(3)):.2f} s")
    print(f"slopes of all faders {timed(lambda: live.slopes()):.2f} s")
    print(f"surrogate: {surrogate.basis.size} directions, {surrogate.bytes / 2**20:.0f} MiB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--second", action="store_true", help="fill in second derivatives, too")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=5, help="of processor time for new true scores")
    parser.add_argument("--only", choices=("speed", "truth"), help="half of it")
    given = parser.parse_args()
    if not FOLDER.is_dir():
        print(f"{FOLDER} is not here: nothing to measure")
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    from engine.merge.inputs import open_inputs
    from engine.preview.fill import fill
    from engine.preview.session import open_live

    recipe = bench_recipe()
    started = time.perf_counter()
    live = open_live(recipe, open_inputs(recipe), bench_tasks(), rows=given.rows)
    print(f"open {time.perf_counter() - started:.1f} s, {live.report.rows} rows a task, load {os.getloadavg()[0]:.1f}")
    surrogate, (true, derivatives) = live.surrogate(), kept_for(live, given.rows, given.minutes)
    if given.only != "truth":
        costs(live, surrogate)
        print(f"  first derivatives {timed(lambda: fill(live, surrogate, second=False)):.1f} s", flush=True)
    elif not filled(live, surrogate, derivatives):
        print(f"{100 * surrogate.filled:.0f} % of the derivatives are there: the next run goes on")
        return
    if given.second:
        print(f"  second derivatives {timed(lambda: fill(live, surrogate, second=True)):.1f} s", flush=True)
    if given.only != "truth":
        speed(live, surrogate)
    if given.only != "speed":
        truth(live, surrogate, given.moves, true)


if __name__ == "__main__":
    main()
