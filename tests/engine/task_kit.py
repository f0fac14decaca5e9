"""Tiny language models and their tokenizer, made on the fly, for tasks on a user's own data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

SUBJECTS = ("cat", "dog", "bird", "fish", "horse", "cow", "duck", "pig", "goat", "hen")
GOOD, BAD = ("good", "great", "fine", "lovely"), ("bad", "awful", "poor", "dreadful")
WORDS = [*SUBJECTS, *GOOD, *BAD, "the", "is", "very", "a", "what", "runs", "eats", "sleeps", "positive", "negative"]


def save_tokenizer(folder: Path, kind: str) -> None:
    """tokenizer.json of whole words; BERT's template, or none for a causal model."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if kind == "bert":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    (folder / "tokenizer.json").write_text(tokenizer.to_str())


def save_model(folder: Path, model: Any) -> Path:
    """config.json and weights of a transformers model, without going through its hub code."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().clone().contiguous() for k, v in model.state_dict().items()}
    if getattr(model.config, "tie_word_embeddings", False):
        state.pop("lm_head.weight", None)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    return folder


def bert(folder: Path, labels: int = 2, seed: int = 0) -> Any:
    """A tiny BERT with a classifier, saved with its tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(vocab_size=len(WORDS) + 4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=40, num_labels=labels,
                        initializer_range=0.6)  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    save_tokenizer(folder, "bert")
    save_model(folder, model)
    return model


def gpt(folder: Path, seed: int = 0) -> Any:
    """A tiny GPT-2 with tied embeddings, saved with its tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=len(WORDS) + 4, n_positions=32, n_embd=16, n_layer=2, n_head=2,
                        initializer_range=0.5)  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    save_tokenizer(folder, "gpt")
    save_model(folder, model)
    return model


def reviews(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentences and whether they are kind."""
    generator = np.random.default_rng(seed)
    rows = []
    for at in range(count):
        kind = ("positive", "negative")[int(generator.integers(2))]
        word = generator.choice(GOOD if kind == "positive" else BAD)
        rows.append((f"the {SUBJECTS[at % 10]} is {'very ' * int(generator.integers(4))}{word}", kind))
    return rows


def write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Path:
    """A CSV file."""
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSON lines file."""
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path
