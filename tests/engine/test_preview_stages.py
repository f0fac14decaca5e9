"""Restarting any network in the middle gives the numbers of the whole forward pass, and computes less."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from engine.errors import Cancelled
from engine.evaluate.model import network
from engine.preview.stages import Memo, Stages, Uncut
from engine.preview.tower import _unhook

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0}
IMAGE = {**SMALL, "image_size": 28, "patch_size": 7, "num_channels": 1}
CLIP = {
    "model_type": "clip", "projection_dim": 8,
    "text_config": {**TEXT, "model_type": "clip_text_model", "bos_token_id": 1, "eos_token_id": 2},
    "vision_config": {**IMAGE, "model_type": "clip_vision_model"},
}  # fmt: skip
FAMILIES: dict[str, tuple[dict[str, Any], Any]] = {
    "bert": ({"model_type": "bert", **TEXT}, "tokens"),
    "roberta": ({"model_type": "roberta", **TEXT, "pad_token_id": 1}, "tokens"),
    "distilbert": ({"model_type": "distilbert", "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24,
                    "vocab_size": 40, "max_position_embeddings": 32}, "tokens"),
    "albert": ({"model_type": "albert", **TEXT, "embedding_size": 8}, "tokens"),
    "gpt2": ({"model_type": "gpt2", "n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 40, "n_positions": 32},
             "tokens"),
    "llama": ({"model_type": "llama", **TEXT, "num_key_value_heads": 1}, "tokens"),
    "qwen2": ({"model_type": "qwen2", **TEXT, "num_key_value_heads": 1}, "tokens"),
    "t5": ({"model_type": "t5", "d_model": 16, "num_layers": 3, "num_heads": 2, "d_kv": 8, "d_ff": 24,
            "vocab_size": 40}, "tokens"),
    "vit": ({"model_type": "vit", **IMAGE}, "image"),
    "dinov2": ({"model_type": "dinov2", **IMAGE}, "image"),
    "convnext": ({"model_type": "convnext", "num_channels": 1, "hidden_sizes": [4, 8, 8, 16], "depths": [1, 1, 2, 1],
                  "image_size": 32, "patch_size": 4}, "image"),
    "clip text": (CLIP, "tokens"),
    "clip vision": (CLIP, "image"),
}  # fmt: skip


def built(name: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """A small network with lively weights, and one batch for it."""
    config, kind = FAMILIES[name]
    module = copy.deepcopy(network(config, kind).module)
    _unhook(module)
    torch.manual_seed(0)
    state = {
        key: torch.randn(value.shape) * 0.3 + float(value.dim() == 1) if value.is_floating_point() else value
        for key, value in module.state_dict().items()
    }
    module.load_state_dict(state, assign=True)
    if kind == "image":
        return module, {"pixel_values": torch.randn(2, 1, config.get("image_size", 28), config.get("image_size", 28))}
    ids = torch.randint(3, 40, (2, 7))
    ids[:, -1] = 2
    return module, {"input_ids": ids, "attention_mask": torch.tensor([[1] * 7, [1] * 5 + [0] * 2])}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_restart_gives_the_numbers_of_the_whole_pass(name: str) -> None:
    module, batch = built(name)
    torch.set_num_threads(1)
    with torch.no_grad():
        plain = module(**batch, return_dict=True).last_hidden_state
        stages = Stages(module)

        def call() -> Any:
            return module(**batch, return_dict=True).last_hidden_state

        first, memo = stages.run(call, record=True)
        torch.testing.assert_close(first, plain, rtol=0, atol=0)
        keys = [k for k, v in module.named_parameters() if v.dim() > 1]
        restarts = set()
        for key in keys:
            parameter = module.get_parameter(key)
            kept = parameter.detach().clone()
            parameter.add_(torch.randn_like(parameter) * 0.1)
            unit = stages.unit_of(key)
            restart = memo.restart(None if unit is None else frozenset({unit}))
            restarts.add(restart)
            whole = call()
            suffix, _ = stages.run(call, memo, restart)
            torch.testing.assert_close(suffix, whole, rtol=1e-5, atol=1e-5, msg=key)
            parameter.copy_(kept)
    blocks = 1 if name == "albert" else 3
    assert len(restarts) >= blocks and max(restarts) > 0, "nothing was skipped"


def test_skipped_units_are_not_computed() -> None:
    module, batch = built("bert")
    calls: list[str] = []
    for index, block in enumerate(module.encoder.layer):
        block.attention.register_forward_pre_hook(lambda *_, i=index: calls.append(str(i)))
    stages = Stages(module)
    _, memo = stages.run(lambda: module(**batch), record=True)
    calls.clear()
    unit = stages.unit_of("encoder.layer.2.output.dense.weight")
    stages.run(lambda: module(**batch), memo, memo.restart(frozenset({unit or 0})))
    assert calls == ["2"]
    assert memo.bytes >= 4 * 2 * 7 * 16 * 4


def test_a_network_that_goes_another_way_is_refused() -> None:
    module, batch = built("bert")
    stages = Stages(module)
    _, memo = stages.run(lambda: module(**batch), record=True)
    other = Memo([*memo.order[1:], 0], memo.outputs)
    with pytest.raises(Uncut):
        stages.run(lambda: module(**batch), other, 2)


def test_every_unit_asks_whether_to_stop() -> None:
    module, batch = built("vit")
    stages, asked = Stages(module), []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        stages.run(lambda: module(**batch), check=check)
    assert len(asked) == 3
