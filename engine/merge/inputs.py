"""The opened checkpoints of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import BadRecipe
from engine.files.checkpoint import open_checkpoint
from engine.files.layout import describe
from engine.files.model import Checkpoint, Layout, TensorInfo
from engine.merge.stacking import Stacked, restacked
from engine.recipe.recipe import Recipe


@dataclass(frozen=True)
class Inputs:
    """What a recipe's models look like on disk.

    Attributes:
        base: The common ancestor, or None.
        experts: One checkpoint for each expert of the recipe, in its order.
        names: The experts' names, in the same order.
        layout: How the tensors fall into layers and kinds (of the base, or of all experts without one).
        stacked: How layers were restacked, if the recipe asks for it: `base` and `experts` then are what each model
            gives to the merged one.
    """

    base: Checkpoint | None
    experts: tuple[Checkpoint, ...]
    names: tuple[str, ...]
    layout: Layout
    stacked: Stacked | None = None

    @property
    def stored_base(self) -> Checkpoint | None:
        """The recipe's base as its files are."""
        return self.base if self.stacked is None else self.stacked.base

    @property
    def stored_experts(self) -> tuple[Checkpoint, ...]:
        """The experts as their files are, in the recipe's order."""
        return self.experts if self.stacked is None else self.stacked.experts

    def refuse_stack(self, what: str) -> None:
        """Stop where layers must lie where they are stored.

        Args:
            what: What needs that ("A bundle").

        Raises:
            BadRecipe: if layers were restacked.
        """
        if self.stacked is not None:
            raise BadRecipe(f"{what} needs layers that stay in place; this recipe restacks them.",
                            hint="Export the merged model, and go on with that.")  # fmt: skip


def make_inputs(
    base: Checkpoint | None, experts: Sequence[Checkpoint], names: Sequence[str], recipe: Recipe | None = None
) -> Inputs:
    """Put opened checkpoints together and describe their layout.

    Args:
        base: The common ancestor, or None.
        experts: The fine-tunes, in the recipe's order.
        names: Their names, in the same order.
        recipe: Whose stack of layers, if it has one, is applied.

    Raises:
        MixdownError: if the stack cannot be made of these models.
    """
    if recipe is not None and recipe.stack:
        ids = [ref.id for ref in recipe.experts]
        stacked_base, stacked_experts, done = restacked(base, experts, names, ids, recipe.stack)
        return replace(make_inputs(stacked_base, stacked_experts, names), stacked=done)
    if base is not None:
        return Inputs(base, tuple(experts), tuple(names), _layout_of(base))
    tensors: dict[str, TensorInfo] = {}
    for expert in experts:
        tensors = {**expert.tensors, **tensors}
    config = next((expert.config for expert in experts if expert.config is not None), None)
    return Inputs(None, tuple(experts), tuple(names), describe(dict(sorted(tensors.items())), config))


_known: tuple[Checkpoint, Layout] | None = None


def _layout_of(base: Checkpoint) -> Layout:
    """The layout of a base; the same base is asked about again whenever an expert comes or goes."""
    global _known
    known = _known
    if known is None or known[0] is not base:
        known = _known = base, describe(base.tensors, base.config)
    return known[1]


def open_inputs(recipe: Recipe) -> Inputs:
    """Read the headers of all models of a recipe.

    Raises:
        FileProblem: naming the first model that cannot be opened.
    """
    base = None if recipe.base is None else open_checkpoint(Path(recipe.base.path))
    experts = [open_checkpoint(Path(ref.path)) for ref in recipe.experts]
    return make_inputs(base, experts, [ref.name for ref in recipe.experts], recipe)
