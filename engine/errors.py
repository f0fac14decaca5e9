"""Everything that can go wrong and that a user can do something about.

MixdownError
├─ FileProblem        NotSafetensors · UnsafePickle · Truncated · Missing · Changed
├─ Mismatch           MissingKeys · ShapeMismatch · DtypeMismatch
├─ NotEnough          NotEnoughMemory · NotEnoughDisk · NotEnoughExperts
├─ BadRecipe          UnknownMethod · OutOfRange · UnknownSelection · BadProject
├─ NotFinite          a NaN or infinity would reach the merged model
├─ WriteProblem       the target cannot be written
├─ EvalProblem        a task or a model cannot be evaluated
└─ Cancelled

Anything else that is raised is a bug and is shown as one. Each error carries what happened
(`message`), where (`where`: a file or tensor) and what to do next (`hint`).
"""

from __future__ import annotations

from engine.files.text import printable


class MixdownError(Exception):
    """A problem told in three parts: what happened, where, and what to do next.

    Args:
        message: What happened and why, one or two plain sentences.
        where: The file or tensor concerned, as plain text (may be empty).
        hint: What the user can do next (may be empty).
    """

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        """One line for logs and the command line."""
        where = f"{printable(self.where, 1_000)}: " if self.where else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{where}{self.message}{hint}"


class FileProblem(MixdownError):
    """A file cannot be used."""


class NotSafetensors(FileProblem):
    """The bytes are not a valid safetensors file, or not a model folder."""


class UnsafePickle(FileProblem):
    """The file is a pickle (.pt, .ckpt, .bin); opening it could run code."""


class Truncated(FileProblem):
    """The file is shorter than its header promises."""


class Missing(FileProblem):
    """A file or shard that is named is not there."""


class Changed(FileProblem):
    """The file was modified, replaced or deleted while it was in use."""


class Mismatch(MixdownError):
    """Two checkpoints do not fit each other."""


class MissingKeys(Mismatch):
    """A tensor that is needed is absent."""


class ShapeMismatch(Mismatch):
    """The same tensor has different shapes in two checkpoints."""


class DtypeMismatch(Mismatch):
    """The same tensor has dtypes that cannot be combined."""


class NotEnough(MixdownError):
    """Something needed is too small."""


class NotEnoughMemory(NotEnough):
    """The job does not fit the memory budget."""


class NotEnoughDisk(NotEnough):
    """The target disk has too little free space."""


class NotEnoughExperts(NotEnough):
    """The method needs more (or fewer) experts than the recipe has."""


class BadRecipe(MixdownError):
    """The recipe asks for something that does not exist."""


class UnknownMethod(BadRecipe):
    """No merge method has this id."""


class OutOfRange(BadRecipe):
    """A parameter or coefficient is outside its range."""


class UnknownSelection(BadRecipe):
    """A selection names an expert, kind or layer that does not exist.

    Args:
        message: What was not understood.
        suggestions: Close names that do exist, best first.
        hint: What to do next; made from the suggestions when empty.
    """

    def __init__(self, message: str, *, suggestions: tuple[str, ...] = (), hint: str = "") -> None:
        if not hint and suggestions:
            hint = "Did you mean " + " or ".join(suggestions[:3]) + "?"
        super().__init__(message, hint=hint)
        self.suggestions = suggestions


class BadProject(BadRecipe):
    """A .mixdown project file is damaged, unsafe or of a newer format."""


class NotFinite(MixdownError):
    """A NaN or infinity would reach the merged model."""


class WriteProblem(MixdownError):
    """The target cannot be written."""


class EvalProblem(MixdownError):
    """A task or a model cannot be evaluated."""


class Cancelled(MixdownError):
    """The user cancelled the job. Not an error to report, only to unwind."""

    def __init__(self) -> None:
        super().__init__("Cancelled.")
