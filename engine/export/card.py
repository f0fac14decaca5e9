"""The model card of an export: README.md with a YAML head, in which names are data and nothing else.

Names of models and parameters come from files of strangers: they are written so that neither YAML nor Markdown
interprets them. The card has no time and no path, so that equal merges have equal cards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.files.text import counted, printable
from engine.merge.plan import Plan
from engine.recipe.stack import BASE_ID, words

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_MAX_RULES = 200
_MAX_SOURCES = 20
_WHYS = {"pickle": "converted from a pickle", "changed": "its files are not the ones that its manifest lists"}


def card_text(plan: Plan, provenance: Mapping[str, Any], *, library: str) -> str:
    """The whole README.md.

    Args:
        plan: What was merged.
        provenance: What the weight files say about their origin; gives names and hashes.
        library: Who loads the model ("transformers" or "safetensors").
    """
    models = _models(plan)
    parts = [_head(models, library), _summary(plan, models), _experts(plan, provenance), _settings(plan)]
    parts += [_rules(provenance), _sources(provenance), _origin(provenance)]
    return "\n\n".join(part for part in parts if part) + "\n"


def quoted(text: object) -> str:
    """A YAML double-quoted scalar on one line."""
    return json.dumps(printable(text), ensure_ascii=False)


def escaped(text: object) -> str:
    """Text that Markdown shows as it is: every ASCII punctuation mark is escaped."""
    return _PUNCTUATION.sub(r"\\\1", printable(text))


def _models(plan: Plan) -> list[str]:
    """Names of the base and of all experts that were heard."""
    base = plan.recipe.base.name if plan.models.base is not None and plan.recipe.base is not None else None
    return ([base] if base else []) + list(plan.models.names)


def _head(models: Sequence[str], library: str) -> str:
    lines = ["---", "base_model:", *(f"- {quoted(name)}" for name in models), "base_model_relation: merge"]
    return "\n".join([*lines, f"library_name: {library}", "tags:", "- merge", "- mixdown", "---"])


def _summary(plan: Plan, models: Sequence[str]) -> str:
    experts = counted(len(plan.models.experts), "expert")
    onto = f" of {escaped(models[0])}" if plan.models.base is not None else ""
    merged = sum(job.action == "merge" for job in plan.jobs)
    copied = len(plan.jobs) - merged
    return (
        f"# {plan.method.title} of {experts}{onto}\n\n"
        f"Merged with Mixdown from weights alone, without training. {counted(merged, 'tensor')} computed in "
        f"float32 and rounded once, {copied:,} copied byte by byte.\n\n"
        f"Source of the method: {plan.method.paper}."
    )


def _experts(plan: Plan, provenance: Mapping[str, Any]) -> str:
    hashes = _hashes(provenance)
    rows = ["| Model | Coefficients | SHA-256 |", "|---|---|---|"]
    if plan.models.base is not None and plan.recipe.base is not None:
        name = plan.recipe.base.name
        rows.append(f"| {escaped(name)} | base | {hashes.get((True, name), '')} |")
    for index, name in enumerate(plan.models.names):
        rows.append(f"| {escaped(name)} | {_coefficients(plan, index)} | {hashes.get((False, name), '')} |")
    return "\n".join(rows)


def _hashes(provenance: Mapping[str, Any]) -> dict[tuple[bool, str], str]:
    """Content hash by (is the base, name)."""
    base, experts = provenance.get("base"), provenance.get("experts") or ()
    entries = [(True, base)] if base else []
    entries += [(False, expert) for expert in experts]
    return {(is_base, str(e.get("name"))): escaped(e.get("sha256", "")) for is_base, e in entries}


def _coefficients(plan: Plan, expert: int) -> str:
    """Smallest to largest coefficient of an expert over all floating-point tensors."""
    values = {
        weight
        for job in plan.jobs
        for used, weight in zip(job.used, job.weights, strict=True)
        if used == expert and job.is_float
    }
    if not values:
        return "0"
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _settings(plan: Plan) -> str:
    rows = ["| Setting | Value |", "|---|---|", f"| method | {plan.method.title} |"]
    rows += [f"| {escaped(name)} | {_plain(value)} |" for name, value in sorted(plan.params.items())]
    rows.append(f"| seed | {plan.recipe.seed} |")
    rows.append(f"| dtype | {plan.recipe.dtype or 'as the inputs'} |")
    if plan.recipe.stack:
        names = {ref.id: ref.name for ref in plan.recipe.experts} | {BASE_ID: getattr(plan.recipe.base, "name", "base")}
        rows.append(f"| layers | {escaped(words(plan.recipe.stack, names)[:2000])} |")
    return "\n".join(rows)


def _rules(provenance: Mapping[str, Any]) -> str:
    """All fader rules, if there are any and not too many to read."""
    owners = [("all", provenance.get("rules") or ())]
    owners += [(str(e.get("name")), e.get("rules") or ()) for e in provenance.get("experts") or ()]
    rules = [(who, rule) for who, mine in owners for rule in mine]
    if not rules:
        return ""
    rows = ["| Expert | Where | Coefficient |", "|---|---|---|"]
    rows += [f"| {escaped(who)} | {_where(rule)} | {rule['value']:g} |" for who, rule in rules[:_MAX_RULES]]
    if len(rules) > _MAX_RULES:
        rows.append(f"| {len(rules) - _MAX_RULES:,} more | in the files' metadata | |")
    return "\n".join(rows)


def _where(rule: Mapping[str, Any]) -> str:
    parts = [f"{key} {escaped(rule[key])}" for key in ("layer", "kind", "tensor") if key in rule]
    return ", ".join(parts) or "everything"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else escaped(value)


def _sources(provenance: Mapping[str, Any]) -> str:
    """Ancestors that nobody vouches for; nothing if the provenance does not speak of them."""
    sources = provenance.get("sources")
    if sources is None:
        return ""
    if not sources:
        return "The SHA-256 of every source was confirmed where this model was made."
    lines = [f"This model comes from {counted(len(sources), 'unverified source')}: nobody compared the SHA-256 with "
             "the publisher's where it was made. That says nothing about the weights themselves.", ""]  # fmt: skip
    for source in sources[:_MAX_SOURCES]:
        why = f" ({_WHYS[source['why']]})" if source.get("why") in _WHYS else ""
        lines.append(f"- {escaped(source.get('name', ''))} {escaped(source.get('sha256', ''))}{why}")
    if len(sources) > _MAX_SOURCES:
        lines.append(f"- {len(sources) - _MAX_SOURCES:,} more in the metadata of the weight files")
    return "\n".join(lines)


def _origin(provenance: Mapping[str, Any]) -> str:
    maker = f" Made by {escaped(provenance['app'])}." if "app" in provenance else ""
    return f"The whole recipe is in the metadata of the weight files, under the key `mixdown`.{maker}"
