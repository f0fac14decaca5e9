"""Networks with the head that their checkpoint brings: which transformers class, which weights must not be missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.errors import EvalProblem
from engine.evaluate.keys import match_keys
from engine.files.text import listed

_NAMES = {
    "": "AutoModel",
    "tokens class": "AutoModelForSequenceClassification",
    "image class": "AutoModelForImageClassification",
    "tokens lm": "AutoModelForCausalLM",
}
_WORDS = {"tokens class": "text classifier", "image class": "image classifier", "tokens lm": "causal language model"}


def factory(head: str, config_class: type, model_type: str) -> Any:
    """Transformers' automatic class for a head ("", "tokens class", "image class", "tokens lm").

    Raises:
        EvalProblem: if the architecture has no such head.
    """
    import transformers

    found = getattr(transformers, _NAMES[head])
    if head and config_class not in found._model_mapping:
        raise EvalProblem(
            f"The architecture {model_type} has no {_WORDS[head]}.",
            hint="Choose another head for the task, or a task that fits the model.",
        )
    return found


def match_headed(
    wanted: Iterable[str], names: Sequence[str], renamings: Sequence[Any], tied: Iterable[frozenset[str]], prefix: str
) -> dict[str, str]:
    """As `engine.evaluate.keys.match_keys`, for a network with a head on it.

    Args:
        wanted: The network's weights.
        names: The checkpoint's tensors, with the encoder's prefix or (with tied or separate heads) without it.
        renamings: See `match_keys`.
        tied: See `match_keys`.
        prefix: What the network puts before its encoder's weights.

    Raises:
        EvalProblem: if weights are missing; a missing pooler too, since classifiers read nothing else.
    """
    keys, groups = list(wanted), list(tied)
    try:
        matched = match_keys(keys, names, renamings, groups)
    except EvalProblem:
        if not prefix or any(name.startswith(f"{prefix}.") for name in names):
            raise
        inner = {f"{prefix}.{name}": name for name in names if f"{prefix}.{name}" in set(keys)}
        aliases = {**{name: name for name in names if name not in inner.values()}, **inner}
        found = match_keys(keys, list(aliases), renamings, groups)
        matched = {key: aliases[name] for key, name in found.items()}
    missing = [name for name in keys if "pooler." in name and name not in matched]
    if missing:
        raise EvalProblem(
            f"The model has no {listed(missing)}, which its classifier reads.",
            hint="Choose a frozen head or label phrases for this task, or a checkpoint with a trained classifier.",
        )
    return matched
