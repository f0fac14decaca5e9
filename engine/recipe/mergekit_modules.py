"""mergekit's `modules:`: which tensors belong to the encoder, the decoder, the vision tower, ...

Follows the architectures that come with mergekit 0.1.5; where it infers an architecture from tensor names, a module is
called like the prefix of its tensors, and the rest is `default`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from engine.files.model import Finding, Layout
from engine.recipe.mergekit_config import Config, finding
from engine.recipe.mergekit_settings import Spot, spots_of, stacks

_FAMILIES: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "encoder": ("encoder.", "model.encoder."),
        "decoder": ("decoder.", "model.decoder."),
        "shared": ("shared.", "lm_head."),
    },
    {
        "text_decoder": ("language_model.", "model.language_model.", "model.layers.", "model.embed_tokens.",
                         "model.norm.", "lm_head."),
        "multi_modal_projector": ("multi_modal_projector.", "visual.merger.", "model.visual.merger.",
                                  "model.visual.deepstack_merger_list."),
        "vision_tower": ("vision_tower.", "visual.", "model.visual."),
        "vision_model": ("vision_model.",),
    },
)  # fmt: skip
"""Beginnings of tensor names by module, of T5 and Whisper, and of models that see."""

DEFAULT = "default"
"""The module of all tensors that are in no other, where mergekit infers the architecture."""


def module_of(name: str, modules: Sequence[str]) -> str:
    """The module of a tensor, "" if it has none that is known; the longest beginning of its name decides.

    Args:
        name: Of the tensor.
        modules: Those of the configuration, which say what family of models it is for.
    """
    family = next((f for f in _FAMILIES if any(m in f for m in modules)), None)
    starts = family or {m: (f"{m}.",) for m in modules if m != DEFAULT}
    fits = [(len(s), module) for module, found in starts.items() for s in found if name.startswith(s)]
    rest = DEFAULT if family is None and DEFAULT in modules else ""
    return max(fits)[1] if fits else rest


def module_spots(config: Config, layout: Layout) -> list[Spot]:
    """Every tensor of the layout with its segment and depth, each module for itself; those in none are the first's."""
    names, spots = tuple(dict.fromkeys(config.modules)), {}
    for module in names:
        first = config.modules.index(module)
        made = spots_of(layout, [s for s, own in zip(config.segments, config.modules, strict=True) if own == module])
        spots[module] = {spot.name: replace(spot, segment=first + spot.segment) for spot in made}
    return [spots.get(module_of(name, names), spots[names[0]])[name] for name in layout.places]


def check_modules(config: Config, layout: Layout | None) -> list[Finding]:
    """What of several modules cannot be expressed.

    Args:
        config: What the file says.
        layout: Of its models; None if none of them is here.
    """
    if not config.modules:
        return []
    if layout is None:
        return [finding("error", "modules", "None of the models is on this machine, so it is not known which tensors "
                        "belong to which module.", "Import again once the models are there.")]  # fmt: skip
    found = []
    lost = [name for name in layout.places if module_of(name, config.modules) not in config.modules]
    if lost:
        found.append(finding("error", "modules", f"{len(lost)} tensors are in none of these modules, such as "
                             f"{lost[0][:200]}; mergekit leaves them out.",
                             "Write all modules of the model."))  # fmt: skip
    idle = sorted(set(config.modules) - {module_of(name, config.modules) for name in layout.places})
    found += [finding("error", f"modules.{name[:100]}", "No tensor of the models is in this module.") for name in idle]
    return [*found, *(f for name in dict.fromkeys(config.modules) for f in _check_slices(config, layout, name))]


def _check_slices(config: Config, layout: Layout, module: str) -> Iterator[Finding]:
    """What the slices of one module do that coefficients of its layers cannot say."""
    parts = [s for s, own in zip(config.segments, config.modules, strict=True) if own == module]
    place = f"modules.{module[:100]}.slices"
    if parts[0].count is None:
        return
    inside = {p.layer for name, p in layout.places.items() if module_of(name, config.modules) == module}
    counts = [len(labels) for labels in stacks(layout).values() if inside & set(labels)]
    total = sum(part.count or 0 for part in parts)
    if len(counts) != 1:
        yield finding("error", place, "The module has not just one stack of layers; slices of it are not clear.")
    elif total != counts[0] or not all(part.stays for part in parts):
        yield finding("error", place, f"Slices in one of several modules must leave its {counts[0]} layers where they "
                      "are.", "Slices of the whole model may move layers; modules may not.")  # fmt: skip
    if any(part.base != config.base for part in parts):
        yield finding("error", place, "Slices in one of several modules cannot have a base_model of their own.")
    if len(parts[-1].sources) > len(parts[0].sources):
        yield finding("error", place, "mergekit makes what comes after the layers of the first sources only, because "
                      "the last slice has more sources than the first.")  # fmt: skip
