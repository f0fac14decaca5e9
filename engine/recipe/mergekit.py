"""mergekit YAML: import a configuration as a recipe, export a recipe as a configuration.

What the other side cannot say is returned as findings: "error" when the result would not be the merge that was
meant, "warning" when it differs in a stated way, "info" when nothing is lost. mergekit 0.1.5 is the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadRecipe, MixdownError
from engine.files.checkpoint import open_checkpoint
from engine.files.durable import write_durably
from engine.files.layout import describe
from engine.files.model import Finding, Layout
from engine.recipe import mergekit_yaml
from engine.recipe.mergekit_config import read
from engine.recipe.mergekit_export import to_config
from engine.recipe.mergekit_import import to_recipe
from engine.recipe.recipe import Recipe

SUFFIXES = (".yaml", ".yml")
"""File names that are taken for mergekit configurations."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A recipe from a configuration, and what of it the recipe cannot say."""

    recipe: Recipe
    findings: tuple[Finding, ...]

    def refuse_errors(self) -> None:
        """Stop where the merge would not be the one that the configuration means.

        Raises:
            BadRecipe: with the first finding of severity "error".
        """
        for found in self.findings:
            if found.severity == "error":
                raise BadRecipe(found.message, where=found.code.partition(":")[2],
                                hint=found.hint or "Use mergekit itself for this one.")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exported:
    """A configuration as YAML text, and what of the recipe it cannot say."""

    text: str
    findings: tuple[Finding, ...]


def is_mergekit(path: Path) -> bool:
    """Whether a file is taken for a mergekit configuration, by its name."""
    return path.suffix.lower() in SUFFIXES


def load_mergekit(path: Path) -> Imported:
    """Read a configuration file, believing nothing; the headers of its models are read where they are found.

    Raises:
        BadRecipe: if it is too large, not plain YAML, or not a mergekit configuration.
        UnknownMethod: if Mixdown has no counterpart of its method.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadRecipe("This is not a file.", where=str(path))
        with path.open("rb") as stream:
            data = stream.read(mergekit_yaml.MAX_BYTES + 1)
    except OSError as error:
        text = f"The file cannot be read: {error.strerror}."
        hint = "Check the path." if isinstance(error, FileNotFoundError) else ""
        raise BadRecipe(text, where=str(path), hint=hint) from error
    return import_mergekit(data, path.absolute().parent, where=str(path))


def import_mergekit(data: bytes, folder: Path, *, where: str = "") -> Imported:
    """A recipe from the bytes of a configuration; see `load_mergekit`.

    Args:
        data: The YAML.
        folder: Where relative model paths start.
        where: File name, for messages.
    """
    parsed = mergekit_yaml.parse(data, where=where)
    try:
        recipe, findings = to_recipe(read(parsed), folder)
    except BadRecipe as error:
        place = f"{where}, {error.where}" if where and error.where else error.where or where
        raise type(error)(error.message, where=place, hint=error.hint) from error
    return Imported(recipe, findings)


def export_mergekit(recipe: Recipe, layout: Layout | None = None, stored: str = "") -> Exported:
    """A recipe as YAML.

    Args:
        recipe: To express.
        layout: Of the base; read from the headers of the recipe's models where it is not given.
        stored: Main dtype of the models ("BF16").

    Raises:
        UnknownMethod: if mergekit has no counterpart of the method.
        NotEnoughExperts: if no expert is heard.
    """
    if layout is None:
        layout, stored = _look(recipe)
    data, findings = to_config(recipe, layout, stored)
    return Exported(mergekit_yaml.dump(data), findings)


def save_mergekit(recipe: Recipe, path: Path, layout: Layout | None = None, stored: str = "") -> tuple[Finding, ...]:
    """Write a recipe as a YAML file, durably; returns what could not be said.

    Raises:
        WriteProblem: if the target cannot be written.
        UnknownMethod: if mergekit has no counterpart of the method.
    """
    made = export_mergekit(recipe, layout, stored)
    write_durably(path, made.text.encode())
    return made.findings


def _look(recipe: Recipe) -> tuple[Layout | None, str]:
    """Layers and main dtype of the first model that is there; of a stack those of the merged model."""
    if recipe.stack:
        return _look_stacked(recipe)
    for ref in (recipe.base, *recipe.experts):
        if ref is None:
            continue
        try:
            checkpoint = open_checkpoint(Path(ref.path))
        except MixdownError:
            continue
        return describe(checkpoint.tensors, checkpoint.config), next(iter(checkpoint.dtypes), "")
    return None, ""


def _look_stacked(recipe: Recipe) -> tuple[Layout | None, str]:
    """Layers of the merged model of a stack, and its main dtype, if its models are there and fit."""
    from engine.merge.inputs import open_inputs

    try:
        inputs = open_inputs(recipe)
    except MixdownError:
        return None, ""
    lead = inputs.base or inputs.experts[0]
    return inputs.layout, next(iter(lead.dtypes), "")
