"""Greedy soup: who is tried when, who stays, and that it is scored as an export would be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import Cancelled, EvalProblem, NotEnoughExperts
from engine.evaluate import greedy
from engine.evaluate.greedy import greedy_soup, soup_of
from engine.evaluate.mix import score_checkpoint, score_recipe
from engine.evaluate.score import Score, average
from engine.merge.inputs import make_inputs
from engine.progress import Token
from engine.recipe.recipe import ModelRef, Recipe, Rule
from engine.store.cache import ScoreCache
from tests.engine.evaluate_kit import Project, random_vit, save_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXPERTS = ("a", "b", "c", "d")


def recipe_of(*names: str) -> Recipe:
    refs = tuple(ModelRef(id=name, name=f"expert {name}", path="") for name in names)
    return Recipe(experts=refs, rules=(Rule(value=0.3, layer="1"),), gains=(("a", 2.0),))


class Judge:
    """Scores soups by a table instead of running a model; notes what it was asked."""

    def __init__(self, table: Mapping[str, float]) -> None:
        self.table, self.asked = table, list[str]()

    def __call__(self, mix: Recipe, inputs: Any, tasks: Any, **options: Any) -> dict[str, Score]:
        assert mix.method == "linear" and not mix.params and not mix.gains and options["split"] == "val"
        options["progress"].check()
        levels = {rule.expert: rule.value for rule in mix.rules}
        assert set(levels.values()) <= {0.0, 1.0}
        members = "".join(sorted(ref.id for ref in mix.experts if levels[ref.id]))
        self.asked.append(members)
        return {t: Score(task=t, split="val", metric="accuracy", value=self.table[members], low=0.0, high=1.0,
                         correct=0, count=9) for t in tasks}  # fmt: skip


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judge:
    judge = Judge({"a": 0.5, "b": 0.7, "c": 0.7, "d": 0.6, "bc": 0.7, "bcd": 0.69, "abc": 0.8, "abcd": 0.9})
    monkeypatch.setattr(greedy, "score_recipe", judge)
    return judge


def search(recipe: Recipe, **options: Any) -> greedy.Soup:
    return greedy_soup(recipe, None, ["task"], **options)


def test_best_first_and_whoever_does_not_hurt_stays(judged: Judge) -> None:
    soup = search(recipe_of(*EXPERTS))
    assert judged.asked == ["a", "b", "c", "d", "bc", "bcd", "abc"]  # b before c: equals keep the recipe's order
    assert soup.members == ("b", "c", "a") and soup.value == 0.8
    assert [(t.expert, t.own, t.value, t.kept) for t in soup.trials] == [
        ("b", 0.7, 0.7, True), ("c", 0.7, 0.7, True), ("d", 0.6, 0.69, False), ("a", 0.5, 0.8, True),
    ]  # fmt: skip
    assert soup.recipe == soup_of(recipe_of(*EXPERTS), ["a", "b", "c"])
    assert search(recipe_of("c", "b", "a", "d")).members == ("c", "b", "a")


def test_known_scores_are_not_measured_again(judged: Judge) -> None:
    soup = search(recipe_of(*EXPERTS), own={"a": 0.1, "b": 0.9, "c": 0.3, "d": 0.2})
    assert judged.asked == ["b", "bc", "bcd", "abc"] and soup.members == ("b", "c", "a")
    assert soup.trials[0].own == 0.9 and soup.trials[0].value == 0.7  # the soup's value is always measured


def test_silent_experts_take_no_part(judged: Judge) -> None:
    assert search(recipe_of(*EXPERTS).with_muted("b", True).with_soloed("b", True).with_soloed("c", True)).members == (
        "c",
    )
    assert judged.asked == ["c"]
    with pytest.raises(NotEnoughExperts):
        search(recipe_of("a").with_muted("a", True))
    with pytest.raises(EvalProblem, match="scores"):
        greedy_soup(recipe_of("a"), None, [])
    for own in ({"a": 0.5}, {"a": 0.5, "b": float("nan")}):
        with pytest.raises(EvalProblem, match="validation score"):
            search(recipe_of("a", "b"), own=own)


def test_progress_counts_mixes_and_cancels(judged: Judge) -> None:
    token = Token()
    search(recipe_of(*EXPERTS), progress=token)
    assert (token.done, token.total, token.unit) == (7, 7, "mixes")
    token = Token()
    search(recipe_of(*EXPERTS), own=dict.fromkeys(EXPERTS, 0.5) | {"b": 1.0, "c": 0.8, "d": 0.7}, progress=token)
    assert (token.done, token.total) == (4, 4)
    token.cancel()
    with pytest.raises(Cancelled):
        search(recipe_of(*EXPERTS), progress=token)


def test_a_real_soup_is_at_least_as_good_as_its_best_expert(tmp_path: Path) -> None:
    project = Project(tmp_path)
    names = ["near", "one", "far"]
    for name, seed, spread in (("near", 7, 0.02), ("far", 8, 1.5)):
        noise = random_vit(seed)
        state = {k: (v + spread * noise[k]).to(v.dtype) for k, v in project.state.items()}
        save_model(project.folder / name, state)
    refs = tuple(ModelRef(id=n, name=n, path=str(project.folder / n)) for n in names)
    base = ModelRef(id="b", name="base", path=str(project.folder / "base"))
    inputs = make_inputs(project.model("base"), [project.model(n) for n in names], names)
    recipe, task = Recipe(base=base, experts=refs), project.task(project.raw)
    tasks = [task, replace(task, name="pooled", head=replace(task.head, pool="mean"))]
    cache = ScoreCache(tmp_path / "scores.sqlite")
    soup = greedy_soup(recipe, inputs, tasks, cache=cache, limit=20)
    assert soup == greedy_soup(recipe, inputs, tasks, cache=cache, limit=20)
    assert soup == greedy_soup(recipe, inputs, tasks, limit=20)
    alone = {t.expert: t.own for t in soup.trials}
    for name in names:
        scores = [score_checkpoint(project.model(name), project.model("base"), t, limit=20) for t in tasks]
        assert alone[name] == average(scores).value
    assert soup.value >= max(alone.values()) > min(alone.values()) and "far" not in soup.members
    assert average(list(score_recipe(soup.recipe, inputs, tasks, limit=20).values())).value == soup.value
