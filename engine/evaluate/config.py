"""From a stranger's config.json to the few plain numbers that transformers needs to build the network.

Three sieves: `engine.files.config.sanitised` (nothing that refers to code), then only the fields that the
configuration class itself declares and only plain scalars and short lists, then bounds on sizes. Nothing is
read from the model's folder, nothing is fetched, no remote code can be reached.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from engine.errors import EvalProblem
from engine.files.config import sanitised
from engine.files.text import printable

Kind = Literal["image", "tokens"]

MAX_DEPTH = 1024
MAX_NUMBER = 1 << 24
_HINT = "Quick evaluation needs an architecture that it knows; merging and exporting work without it."
_TOWER = {"image": "vision_config", "tokens": "text_config"}
_DEEP = re.compile(r"layers|depth|blocks|stages|experts|repeats")
_SKIPPED = re.compile(
    r"^_|backbone|quantization|kernel_config|^dtype$|^torch_dtype$|^architectures$|^transformers_version$|^output_"
    r"|^return_dict$|label|^problem_type$|^model_type$|^use_cache$|^chunk_size|_token_id$(?<!pad_token_id)"
)
_ROPE = frozenset({"rope_theta", "rope_scaling", "rope_parameters"})


def reduce_config(config: Mapping[str, Any] | None, kind: Kind, known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The model type and the fields to build it with.

    Args:
        config: config.json of the model, as data.
        kind: What the tasks feed: the image or the text tower of a two-tower model is taken.
        known: Configuration class of every model type that transformers has.

    Raises:
        EvalProblem: if there is no configuration, the architecture is unknown or a size is absurd.
    """
    if not config:
        raise EvalProblem("The model has no config.json, so it cannot be run.", hint=_HINT)
    plain = sanitised(config)
    model_type = plain.get("model_type")
    while isinstance(plain.get(_TOWER[kind]), dict) and isinstance(model_type, str) and model_type in known:
        inner = known[model_type].sub_configs.get(_TOWER[kind])
        plain = plain[_TOWER[kind]]
        model_type = getattr(inner, "model_type", None) or plain.get("model_type")
    if not isinstance(model_type, str) or model_type not in known or model_type.startswith("timm"):
        name = printable(model_type, 80) if isinstance(model_type, str) else "of this model"
        raise EvalProblem(f"Quick evaluation does not know the architecture {name}.", hint=_HINT)
    cls = known[model_type]
    fields = {*getattr(cls, "__dataclass_fields__", {}), *getattr(cls, "attribute_map", {}), *_ROPE}
    kept = {key: value for key, value in plain.items() if key in fields and not _SKIPPED.search(key)}
    if "clip" in model_type and isinstance(plain.get("eos_token_id"), int):  # its text tower pools at this token
        kept["eos_token_id"] = plain["eos_token_id"]
    return model_type, {key: value for key, value in kept.items() if _is_plain(key, value)}


def _is_plain(key: str, value: Any) -> bool:
    """Whether a field may be handed on; sizes are checked on the way."""
    if isinstance(value, (bool, str)) or value is None:
        return True
    if isinstance(value, (int, float)):
        if isinstance(value, int) and abs(value) > (MAX_DEPTH if _DEEP.search(key) else MAX_NUMBER):
            raise EvalProblem(f"The configuration says {printable(key, 80)} = {value:,}; that is no real model.",
                              hint=_HINT)  # fmt: skip
        return True
    if isinstance(value, list):
        return len(value) <= MAX_DEPTH and all(not isinstance(v, dict) and _is_plain(key, v) for v in value)
    return key in _ROPE and all(_is_plain(str(name), item) for name, item in value.items())
