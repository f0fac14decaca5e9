"""Tasks on a user's own data, from the file to the score, against plain transformers on the same rows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import EvalProblem
from engine.evaluate.look import look
from engine.evaluate.make import make_task
from engine.evaluate.mix import score_checkpoint
from engine.evaluate.plan import TaskPlan
from engine.evaluate.sample import read_sample
from engine.evaluate.task import load_task
from engine.files.checkpoint import open_checkpoint
from tests.engine import task_kit as kit

torch.set_num_threads(1)


def _plan(path: Path, model: Path, **changes: object) -> TaskPlan:
    return replace(look(path).plan, model=model, name="mine", **changes)


def test_the_classifier_inside_a_checkpoint_scores_as_transformers_does(tmp_path: Path) -> None:
    model = kit.bert(tmp_path / "bert")
    data = kit.write_csv(tmp_path / "reviews.csv", ("sentence", "label"), kit.reviews(120))
    made = make_task(_plan(data, tmp_path / "bert", head="model"), tmp_path / "mine.task.json")
    score = score_checkpoint(open_checkpoint(tmp_path / "bert"), None, made.task, split="test")
    rows = read_sample(made.task, "test")
    hits, at = 0, 0
    for length, label in zip(rows.rows.lengths, rows.targets, strict=True):
        ids = torch.from_numpy(rows.rows.inputs[at : at + length])[None]
        at += length
        with torch.no_grad():
            hits += int(model(input_ids=ids).logits.argmax()) == label
    assert (score.correct, score.count) == (hits, made.rows["test"])
    assert score.low < score.value < score.high


def test_label_phrases_make_a_head_from_the_encoder(tmp_path: Path) -> None:
    model = kit.bert(tmp_path / "bert")
    data = kit.write_csv(tmp_path / "reviews.csv", ("sentence", "label"), kit.reviews(80))
    made = make_task(_plan(data, tmp_path / "bert", template="very {}"), tmp_path / "mine.task.json")
    assert made.task.is_linear
    assert made.task.labels == ("negative", "positive")
    score = score_checkpoint(open_checkpoint(tmp_path / "bert"), None, made.task)
    words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *kit.WORDS])}

    def vector(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            hidden = model.bert(input_ids=torch.tensor([ids])).last_hidden_state
        return torch.nn.functional.normalize(hidden.mean(1), dim=-1)[0]

    heads = torch.stack([vector([2, words["very"], words[label], 3]) for label in made.task.labels])
    rows, at, hits = read_sample(made.task, "val"), 0, 0
    for length, label in zip(rows.rows.lengths, rows.targets, strict=True):
        hits += int((heads @ vector(rows.rows.inputs[at : at + length].tolist())).argmax()) == label
        at += length
    assert score.correct == hits


def test_perplexity_and_bits_per_byte_are_transformers_own_loss(tmp_path: Path) -> None:
    model = kit.gpt(tmp_path / "gpt")
    texts = [(text,) for text, _ in kit.reviews(60)]
    data = kit.write_csv(tmp_path / "texts.csv", ("text",), texts)
    plan = _plan(data, tmp_path / "gpt")
    assert plan.family == "lm"
    made = make_task(plan, tmp_path / "mine.task.json")
    other = make_task(replace(plan, metric="bits_per_byte"), tmp_path / "bits.task.json")
    opened = open_checkpoint(tmp_path / "gpt")
    score, bits = (score_checkpoint(opened, None, t, split="test") for t in (made.task, other.task))
    rows, at, nats, tokens = read_sample(made.task, "test"), 0, 0.0, 0
    for length in rows.rows.lengths:
        ids = torch.from_numpy(rows.rows.inputs[at : at + length])[None]
        at += length
        with torch.no_grad():
            nats += float(model(input_ids=ids, labels=ids).loss) * (int(length) - 1)
        tokens += int(length) - 1
    assert score.value == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    assert bits.value == pytest.approx(nats / math.log(2) / rows.sizes.sum(), rel=1e-5)
    assert score.low < score.value < score.high
    assert not score.measure.higher_is_better


def test_multiple_choice_takes_the_likeliest_option(tmp_path: Path) -> None:
    model = kit.gpt(tmp_path / "gpt")
    rows = [{"question": f"the {s} is", "choices": ["very good", "bad", "a cat"], "answer": i % 3}
            for i, s in enumerate(kit.SUBJECTS * 3)]  # fmt: skip
    for i, row in enumerate(rows):
        row["question"] += " very" * (i // 10)
    plan = _plan(kit.write_jsonl(tmp_path / "quiz.jsonl", rows), tmp_path / "gpt")
    assert (plan.family, plan.options) == ("choice", ("choices",))
    made = make_task(plan, tmp_path / "mine.task.json")
    score = score_checkpoint(open_checkpoint(tmp_path / "gpt"), None, made.task, split="val")
    sample = read_sample(made.task, "val")
    starts = np.cumsum(sample.rows.lengths) - sample.rows.lengths
    said: dict[int, list[float]] = {}
    for at, (first, length, begin) in enumerate(zip(starts, sample.rows.lengths, sample.starts, strict=True)):
        ids = torch.from_numpy(sample.rows.inputs[first : first + length])
        with torch.no_grad():
            each = model(input_ids=ids[None]).logits[0].log_softmax(-1)
        scored = [float(each[n - 1, ids[n]]) for n in range(int(begin), int(length))]
        assert len(scored) in (1, 2)  # of the option alone
        said.setdefault(int(sample.groups[at]), []).append(sum(scored))
    hits = sum(int(np.argmax(said[q])) == right for q, right in enumerate(sample.targets))
    assert (score.correct, score.count) == (hits, len(said))


def test_searches_and_pairs_use_the_embeddings(tmp_path: Path) -> None:
    kit.bert(tmp_path / "bert")
    opened = open_checkpoint(tmp_path / "bert")
    rows = [(f"the {s} {v}", f"the {s} {v}") for s in kit.SUBJECTS for v in ("runs", "eats", "sleeps")]
    plan = _plan(kit.write_csv(tmp_path / "search.csv", ("query", "document"), rows), tmp_path / "bert")
    assert plan.family == "retrieve"
    made = make_task(replace(plan, metric="recall_1"), tmp_path / "s.task.json")
    assert score_checkpoint(opened, None, made.task, split="test").value == 1  # every query is its own document
    shuffled = kit.write_csv(tmp_path / "wrong.csv", ("query", "document"),
                             [(q, rows[(i + 7) % 30][1]) for i, (q, _) in enumerate(rows)])  # fmt: skip
    wrong = make_task(replace(plan, data=shuffled, metric="recall_1"), tmp_path / "w.task.json")
    assert score_checkpoint(opened, None, wrong.task, split="test").value == 0
    pairs = [(a, b, float(i % 3)) for i, (a, _) in enumerate(rows) for b in [rows[(i + 7) % 30][0]]]
    pairs += [(a, a, 5.0) for a, _ in rows]
    plan = _plan(kit.write_csv(tmp_path / "sts.csv", ("sentence1", "sentence2", "score"), pairs), tmp_path / "bert")
    assert plan.family == "pair"
    made = make_task(plan, tmp_path / "p.task.json")
    found = score_checkpoint(opened, None, made.task, split="test")
    assert found.metric == "spearman"
    assert 0.5 < found.low <= found.value <= found.high <= 1


def test_a_missing_classifier_is_said_in_plain_words(tmp_path: Path) -> None:
    kit.gpt(tmp_path / "gpt")
    data = kit.write_csv(tmp_path / "reviews.csv", ("sentence", "label"), kit.reviews(40))
    made = make_task(_plan(data, tmp_path / "gpt", head="model"), tmp_path / "mine.task.json")
    with pytest.raises(EvalProblem, match="missing"):
        score_checkpoint(open_checkpoint(tmp_path / "gpt"), None, made.task)


def test_a_task_travels_with_its_folder(tmp_path: Path) -> None:
    kit.bert(tmp_path / "bert")
    data = kit.write_csv(tmp_path / "reviews.csv", ("sentence", "label"), kit.reviews(40))
    (tmp_path / "tasks").mkdir()
    make_task(_plan(data, tmp_path / "bert", head="model"), tmp_path / "tasks" / "mine.task.json")
    data.unlink()
    (tmp_path / "tasks").rename(tmp_path / "moved")
    task = load_task(tmp_path / "moved" / "mine.task.json")
    assert score_checkpoint(open_checkpoint(tmp_path / "bert"), None, task).count > 10


def test_phrases_and_images_meet_in_clip(tmp_path: Path) -> None:
    from PIL import Image
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(2)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(kit.WORDS) + 4, "max_position_embeddings": 16, "eos_token_id": 3,
                     "bos_token_id": 2, "pad_token_id": 0},
        vision_config={**small, "image_size": 16, "patch_size": 8}, projection_dim=12,
    )  # fmt: skip
    model = CLIPModel(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    kit.save_tokenizer(tmp_path / "clip", "bert")
    kit.save_model(tmp_path / "clip", model)
    noise = np.random.default_rng(1)
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for at in range(12):
            pixels = noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{at}.png")
    made = make_task(_plan(tmp_path / "pets", tmp_path / "clip", template="a {}"), tmp_path / "mine.task.json")
    score = score_checkpoint(open_checkpoint(tmp_path / "clip"), None, made.task, split="test")
    rows = read_sample(made.task, "test")
    words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *kit.WORDS])}
    ids = torch.tensor([[2, words["a"], words[label], 3] for label in made.task.labels])
    pixels = (torch.from_numpy(rows.rows.inputs.astype(np.float32)) / 255 - 0.5) / 0.5
    with torch.no_grad():
        said = model(input_ids=ids, pixel_values=pixels).logits_per_image.argmax(1).numpy()
    assert score.correct == int((said == rows.targets).sum())
    assert score.count == len(said)


def test_a_classifier_is_taken_from_an_expert_and_kept(tmp_path: Path) -> None:
    kit.bert(tmp_path / "base", seed=1)
    kit.bert(tmp_path / "expert", seed=2)
    data = kit.write_csv(tmp_path / "reviews.csv", ("sentence", "label"), kit.reviews(60))
    plan = _plan(data, tmp_path / "base", head="model", head_file=tmp_path / "expert", metric="auc")
    made = make_task(plan, tmp_path / "mine.task.json")
    own = make_task(replace(plan, head_file=None), tmp_path / "own.task.json")
    base, expert = (open_checkpoint(tmp_path / name) for name in ("base", "expert"))
    kept = score_checkpoint(expert, None, made.task)
    assert kept.value == score_checkpoint(expert, None, own.task).value
    mixed = score_checkpoint(base, None, made.task).value
    assert mixed != score_checkpoint(base, None, own.task).value  # the base with the expert's classifier
