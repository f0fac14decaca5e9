"""Names of recipes: what they say, and that neighbours differ."""

from __future__ import annotations

from engine.history.titles import MOST, title_of
from engine.recipe.recipe import ModelRef, Recipe, Rule

NAMES = ("chat", "code", "math")
PLAIN = Recipe(
    base=ModelRef(id="b", name="qwen", path="/b"),
    experts=tuple(ModelRef(id=f"e{n}", name=name, path=f"/{name}") for n, name in enumerate(NAMES)),
)


def test_a_title_says_what_differs_from_the_defaults() -> None:
    ties = PLAIN.with_method("ties", {"density": 0.2})
    half = Rule(value=0.5, expert="e0")
    shown = {
        title_of(PLAIN): "Task arithmetic · 3 experts",
        title_of(ties): "TIES · density 0.2",
        title_of(PLAIN.with_rules([Rule(value=0.4)])): "Task arithmetic · all 0.4",
        title_of(PLAIN.with_rules([half, Rule(value=1 / 3, expert="e1", kind="attn", layer="3")])):
            "Task arithmetic · chat 0.5 · code attn layer 3 0.3333",
        title_of(PLAIN.with_rules(Rule(value=0.7, expert="e2", layer=str(n)) for n in range(12))):
            "Task arithmetic · math 12 layers 0.7",
        title_of(PLAIN.with_muted("e1", True)): "Task arithmetic · without code",
        title_of(PLAIN.with_soloed("e2", True).with_gain("e2", 1.5)): "Task arithmetic · math ×1.5 · only math",
        title_of(Recipe(method="a plugin that is gone")): "a plugin that is gone",
    }  # fmt: skip
    assert all(found == wanted for found, wanted in shown.items()), shown


def test_what_the_last_one_does_not_say_comes_first() -> None:
    many = PLAIN.with_rules(Rule(value=n / 10, expert="e0", layer=str(n)) for n in range(1, 20))
    more = many.with_rules([Rule(value=0.25, expert="e0", layer="19")])
    assert title_of(many) == title_of(more)  # the difference is among those that are only counted
    assert title_of(more, [PLAIN, many]).startswith("Task arithmetic · chat layer 19 0.25 · ")
    assert len(title_of(more)) <= MOST and title_of(more).endswith(" more")


def test_names_of_any_length_keep_the_title_short() -> None:
    long = PLAIN.with_replaced(ModelRef(id="e0", name="x" * 500, path="/x")).with_rules([Rule(value=1, expert="e0")])
    assert title_of(long) == "Task arithmetic · 1 more"
