"""Layers and kinds from names alone, for the families that people merge and for anything else."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.files.layout import describe
from engine.files.model import KINDS
from tests.engine.file_maker import infos

# family -> (expected family, labels in order, {name: (layer, kind)})
Case = tuple[str, tuple[str, ...], dict[str, tuple[str, str]]]


def blocks(names: dict[str, str], template: str, count: int, prefix: str = "") -> dict[str, tuple[str, str]]:
    """The same tensors in `count` blocks: name below the block to kind."""
    label = f"{prefix}." if prefix else ""
    return {template.format(i) + name: (f"{label}{i}", kind) for i in range(count) for name, kind in names.items()}


BERT_BLOCK = {
    "attention.self.query.weight": "attn", "attention.self.value.bias": "attn", "attention.output.dense.weight": "attn",
    "attention.output.LayerNorm.weight": "norm", "intermediate.dense.weight": "mlp", "output.dense.weight": "mlp",
    "output.LayerNorm.bias": "norm",
}  # fmt: skip
LLAMA_BLOCK = {
    "self_attn.q_proj.weight": "attn", "self_attn.o_proj.weight": "attn", "self_attn.q_norm.weight": "norm",
    "mlp.gate_proj.weight": "mlp", "mlp.down_proj.weight": "mlp", "input_layernorm.weight": "norm",
    "post_attention_layernorm.weight": "norm", "pre_feedforward_layernorm.weight": "norm",
}  # fmt: skip
VIT_BLOCK = {
    "attention.attention.query.weight": "attn", "attention.output.dense.weight": "attn",
    "intermediate.dense.weight": "mlp", "output.dense.bias": "mlp", "layernorm_before.weight": "norm",
}  # fmt: skip
CLIP_BLOCK = {"self_attn.q_proj.weight": "attn", "mlp.fc1.weight": "mlp", "layer_norm1.weight": "norm"}
OPEN_CLIP_BLOCK = {"attn.in_proj_weight": "attn", "mlp.c_fc.weight": "mlp", "ln_1.weight": "norm"}
GPT_BLOCK = {"attn.c_attn.weight": "attn", "attn.c_proj.bias": "attn", "mlp.c_fc.weight": "mlp", "ln_1.weight": "norm"}
T5_BLOCK = {"layer.0.SelfAttention.q.weight": "attn", "layer.0.layer_norm.weight": "norm"}
DIT_BLOCK = {"attn1.to_q.weight": "attn", "attn1.to_out.0.weight": "attn", "ff.net.0.proj.weight": "mlp"}

CASES: dict[str, Case] = {
    "bert": ("bert", ("emb", "0", "1", "head"), {
        **blocks(BERT_BLOCK, "bert.encoder.layer.{}.", 2),
        "bert.embeddings.word_embeddings.weight": ("emb", "emb"), "bert.embeddings.LayerNorm.weight": ("emb", "norm"),
        "bert.pooler.dense.weight": ("head", "head"), "classifier.weight": ("head", "head"),
        "cls.predictions.transform.LayerNorm.weight": ("head", "norm"),
    }),
    "bert without prefix": ("bert", ("emb", "0", "1"), {
        **blocks(BERT_BLOCK, "encoder.layer.{}.", 2), "embeddings.word_embeddings.weight": ("emb", "emb"),
    }),
    "roberta": ("roberta", ("emb", "0", "1", "head"), {
        **blocks(BERT_BLOCK, "roberta.encoder.layer.{}.", 2),
        "roberta.embeddings.position_embeddings.weight": ("emb", "emb"), "lm_head.dense.weight": ("head", "head"),
        "lm_head.layer_norm.weight": ("head", "norm"),
    }),
    "deberta": ("deberta", ("emb", "0", "1", "head"), {
        **blocks({"attention.self.query_proj.weight": "attn", "intermediate.dense.weight": "mlp"},
                 "deberta.encoder.layer.{}.", 2),
        "deberta.embeddings.word_embeddings.weight": ("emb", "emb"),
        "deberta.encoder.rel_embeddings.weight": ("emb", "emb"), "deberta.encoder.LayerNorm.weight": ("emb", "norm"),
        "pooler.dense.weight": ("head", "head"),
    }),
    "vit": ("vit", ("emb", "0", "1", "head"), {
        **blocks(VIT_BLOCK, "vit.encoder.layer.{}.", 2),
        "vit.embeddings.cls_token": ("emb", "emb"), "vit.embeddings.patch_embeddings.projection.weight": ("emb", "emb"),
        "vit.layernorm.weight": ("head", "norm"), "classifier.weight": ("head", "head"),
    }),
    "timm vit": ("vit", ("emb", "0", "1", "head"), {
        **blocks({"attn.qkv.weight": "attn", "attn.proj.weight": "attn", "mlp.fc1.weight": "mlp", "norm1.bias": "norm"},
                 "blocks.{}.", 2),
        "cls_token": ("emb", "emb"), "pos_embed": ("emb", "emb"), "patch_embed.proj.weight": ("emb", "emb"),
        "norm.weight": ("head", "norm"), "head.weight": ("head", "head"),
    }),
    "clip": ("clip", ("emb", "txt.0", "txt.1", "vis.0", "vis.1", "head"), {
        **blocks(CLIP_BLOCK, "vision_model.encoder.layers.{}.", 2, "vis"),
        **blocks(CLIP_BLOCK, "text_model.encoder.layers.{}.", 2, "txt"),
        "vision_model.embeddings.class_embedding": ("emb", "emb"),
        "text_model.embeddings.token_embedding.weight": ("emb", "emb"),
        "vision_model.post_layernorm.weight": ("head", "norm"), "text_model.final_layer_norm.weight": ("head", "norm"),
        "visual_projection.weight": ("head", "head"),
    }),
    "open clip": ("clip", ("emb", "txt.0", "txt.1", "vis.0", "vis.1", "head"), {
        **blocks(OPEN_CLIP_BLOCK, "visual.transformer.resblocks.{}.", 2, "vis"),
        **blocks(OPEN_CLIP_BLOCK, "transformer.resblocks.{}.", 2, "txt"),
        "visual.conv1.weight": ("emb", "emb"), "token_embedding.weight": ("emb", "emb"),
        "ln_final.weight": ("head", "norm"), "visual.ln_pre.weight": ("emb", "norm"),
    }),
    "gpt2": ("gpt2", ("emb", "0", "1", "2", "head"), {
        **blocks(GPT_BLOCK, "transformer.h.{}.", 3), "transformer.wte.weight": ("emb", "emb"),
        "transformer.wpe.weight": ("emb", "emb"), "transformer.ln_f.weight": ("head", "norm"),
        "lm_head.weight": ("head", "head"),
    }),
    "t5": ("t5", ("emb", "enc.0", "enc.1", "dec.0", "dec.1", "head"), {
        **blocks({**T5_BLOCK, "layer.1.DenseReluDense.wi.weight": "mlp"}, "encoder.block.{}.", 2, "enc"),
        **blocks({**T5_BLOCK, "layer.1.EncDecAttention.k.weight": "attn", "layer.2.DenseReluDense.wo.weight": "mlp"},
                 "decoder.block.{}.", 2, "dec"),
        "shared.weight": ("emb", "emb"), "encoder.final_layer_norm.weight": ("head", "norm"),
        "lm_head.weight": ("head", "head"),
    }),
    "llama, mistral, qwen, gemma": ("llama", ("emb", *map(str, range(12)), "head"), {
        **blocks(LLAMA_BLOCK, "model.layers.{}.", 12), "model.embed_tokens.weight": ("emb", "emb"),
        "model.norm.weight": ("head", "norm"), "lm_head.weight": ("head", "head"),
    }),
    "mixtral": ("mixtral", ("0", "1"), blocks(
        {"block_sparse_moe.experts.0.w1.weight": "mlp", "block_sparse_moe.gate.weight": "mlp",
         "self_attn.k_proj.weight": "attn"}, "model.layers.{}.", 2)),
    "torchvision resnet": ("resnet", ("emb", "1.0", "1.1", "2.0", "head"), {
        "conv1.weight": ("emb", "emb"), "bn1.running_mean": ("emb", "norm"), "layer1.0.conv1.weight": ("1.0", "other"),
        "layer1.1.bn2.weight": ("1.1", "norm"), "layer2.0.downsample.1.weight": ("2.0", "norm"),
        "fc.weight": ("head", "head"),
    }),
    "hf resnet": ("resnet", ("emb", "0.0", "0.1", "1.0", "head"), {
        "resnet.embedder.embedder.convolution.weight": ("emb", "emb"),
        "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight": ("0.0", "other"),
        "resnet.encoder.stages.0.layers.1.layer.0.normalization.weight": ("0.1", "norm"),
        "resnet.encoder.stages.1.layers.0.layer.1.convolution.weight": ("1.0", "other"),
        "classifier.1.weight": ("head", "head"),
    }),
    "convnext": ("convnext", ("emb", "0.0", "0.1", "1.0", "head"), {
        "convnext.embeddings.patch_embeddings.weight": ("emb", "emb"),
        "convnext.encoder.stages.0.layers.0.dwconv.weight": ("0.0", "other"),
        "convnext.encoder.stages.0.layers.1.pwconv1.weight": ("0.1", "mlp"),
        "convnext.encoder.stages.1.layers.0.layernorm.weight": ("1.0", "norm"),
        "convnext.layernorm.weight": ("head", "norm"), "classifier.weight": ("head", "head"),
    }),
    "sd unet, original names": ("unet", ("emb", "txt.0", "in.1", "in.11", "mid", "out.0", "head"), {
        "model.diffusion_model.time_embed.0.weight": ("emb", "emb"),
        "model.diffusion_model.input_blocks.1.0.in_layers.0.weight": ("in.1", "norm"),
        "model.diffusion_model.input_blocks.11.1.transformer_blocks.0.attn2.to_k.weight": ("in.11", "attn"),
        "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight": ("mid", "mlp"),
        "model.diffusion_model.output_blocks.0.1.transformer_blocks.0.attn1.to_q.weight": ("out.0", "attn"),
        "model.diffusion_model.out.2.weight": ("head", "head"),
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight": ("txt.0", "mlp"),
    }),
    "sd unet, diffusers names": ("unet", ("emb", "in.1", "in.2", "in.3", "in.4", "mid", "out.0", "out.2", "head"), {
        "conv_in.weight": ("emb", "emb"), "time_embedding.linear_1.weight": ("emb", "emb"),
        "down_blocks.0.resnets.0.norm1.weight": ("in.1", "norm"),
        "down_blocks.0.resnets.1.norm1.weight": ("in.2", "norm"),
        "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight": ("in.2", "attn"),
        "down_blocks.0.downsamplers.0.conv.weight": ("in.3", "other"),
        "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2.weight": ("in.4", "mlp"),
        "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight": ("mid", "attn"),
        "up_blocks.0.resnets.0.norm1.weight": ("out.0", "norm"),
        "up_blocks.0.resnets.2.norm1.weight": ("out.2", "norm"),
        "conv_out.weight": ("head", "head"),
    }),
    "dit": ("dit", ("emb", "0", "1", "head"), {
        **blocks(DIT_BLOCK, "transformer_blocks.{}.", 2), "pos_embed.proj.weight": ("emb", "emb"),
        "norm_out.linear.weight": ("head", "head"), "proj_out.weight": ("head", "head"),
    }),
    "flux": ("flux", ("double.0", "single.0", "single.1"), {
        "double_blocks.0.img_attn.qkv.weight": ("double.0", "attn"),
        **blocks({"linear1.weight": "mlp"}, "single_blocks.{}.", 2, "single"),
    }),
    "unknown dotted numbers": ("generic", ("emb", "0", "2", "10", "head"), {
        **{f"trunk.units.{i}.mystery.weight": (str(i), "other") for i in (10, 0, 2)},
        "token_embedding.weight": ("emb", "emb"), "output_head.weight": ("head", "head"),
    }),
    "two unknown stacks": ("generic", ("left.0", "left.1", "right.0"), {
        "left.units.0.attn.w": ("left.0", "attn"), "left.units.1.attn.w": ("left.1", "attn"),
        "right.units.0.mlp.w": ("right.0", "mlp"),
    }),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_known_families(case: str) -> None:
    family, layers, places = CASES[case]
    layout = describe(infos(dict.fromkeys(reversed(list(places)), (2, 3))))
    found = {name: (place.layer, place.kind) for name, place in layout.places.items()}
    assert {name: (found[name], wanted) for name, wanted in places.items() if found[name] != wanted} == {}
    assert layout.layers == layers
    assert layout.family == family


def test_every_tensor_is_in_exactly_one_group() -> None:
    for _, _, places in CASES.values():
        layout = describe(infos(dict.fromkeys(places, (2, 3))))
        members = [name for group in layout.groups for name in group.tensors]
        assert sorted(members) == sorted(places)
        assert all(layout.places[name] == group.place for group in layout.groups for name in group.tensors)
        assert all(group.numel == 6 * len(group.tensors) for group in layout.groups)
        order = [(layout.layers.index(g.place.layer), KINDS.index(g.place.kind)) for g in layout.groups]
        assert order == sorted(order) and len(set(order)) == len(order)


def test_the_config_names_a_family_that_the_names_do_not_tell() -> None:
    tensors = infos({"trunk.0.w": (1,)})
    assert describe(tensors, {"model_type": "mamba"}).family == "mamba"
    for odd in ("../x", 7, "a" * 99, None):
        assert describe(tensors, {"model_type": odd}).family == "generic"
    assert describe({}).layers == ()


WORDS = st.sampled_from(["layers", "encoder", "0", "12", "norm", "head", "x", "attn", "", "block", "²", "layer1", "#"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=20) | st.lists(WORDS, max_size=7).map(".".join), unique=True, max_size=12))
def test_any_names_at_all(names: list[str]) -> None:
    layout = describe(infos(dict.fromkeys(names, (1,))))
    assert set(layout.places) == set(names)
    assert {place.kind for place in layout.places.values()} <= set(KINDS)
    assert {place.layer for place in layout.places.values()} == set(layout.layers)


def test_a_hundred_thousand_tensors_take_little_time() -> None:
    """Ten times as many take about ten times as long: a ratio in one run, whatever else the machine does."""
    parts = (*LLAMA_BLOCK, "self_attn.k_proj.weight", "self_attn.v_proj.weight")

    def seconds(layers: int) -> float:
        tensors = infos({f"model.layers.{i}.{part}": (4, 4) for i in range(layers) for part in parts})
        gc.collect()
        gc.freeze()  # what other tests left behind is not to be looked through in the measured time
        start = time.thread_time()
        assert len(describe(tensors).layers) == layers
        return time.thread_time() - start

    few = min(seconds(1_000) for _ in range(3))
    assert min(seconds(10_000) for _ in range(2)) < 25 * few


def test_hostile_names_take_little_time() -> None:
    tensors = infos({f"{'encoder.' * 60}x{i}": (1,) for i in range(20_000)})
    start = time.thread_time()
    assert set(describe(tensors).layers) == {"other"}
    assert time.thread_time() - start < 1.5
