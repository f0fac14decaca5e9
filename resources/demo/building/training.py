"""A small vision transformer: trained briefly on everything (the base), then longer on one task (an expert)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from building.tasks import MEAN, STD, TASKS, Images, Rows

SIZES: dict[str, Any] = {
    "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 256,
    "image_size": 28, "patch_size": 14, "num_channels": 1, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0, "initializer_range": 0.08,
}  # fmt: skip

POOL = 900
"""Pictures of each task that are held."""

State = dict[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        base_steps: Steps on all tasks together.
        base_lr: Highest learning rate of these.
        steps: Steps of an expert.
        lr: Highest learning rate of an expert.
        batch: Rows of a step.
        replay: Pictures of other tasks beside them, in an expert's step.
        hold: Weight of keeping these pictures' features where the base has them.
        logit_scale: Factor of the cosines in the loss.
        shift: Pixels by which training pictures are moved at most.
    """

    base_steps: int = 45
    base_lr: float = 1.5e-3
    steps: int = 400
    lr: float = 6e-4
    batch: int = 64
    replay: int = 24
    hold: float = 3.0
    logit_scale: float = 16.0
    shift: int = 1


def new_model(seed: int) -> nn.Module:
    """An untrained ViTModel in float32."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(seed)
    return ViTModel(ViTConfig(**SIZES, attn_implementation="sdpa"), add_pooling_layer=False)


def pixels(images: Images) -> Tensor:
    """(N, 1, 28, 28) float32, scaled as the task files say."""
    return ((torch.from_numpy(images).float() / 255 - MEAN) / STD)[:, None]


def features(model: nn.Module, batch: Tensor) -> Tensor:
    """(N, hidden) unit vectors: the mean over positions."""
    return normalize(model(batch).last_hidden_state.mean(1), dim=-1)


def train_base(tasks: Mapping[str, Mapping[str, Rows]], plan: Schedule, seed: int) -> nn.Module:
    """All tasks together, a little of each in every step, with throw-away heads."""
    model = new_model(seed)
    heads = nn.ParameterDict({s.name: nn.Parameter(torch.randn(len(s.labels), SIZES["hidden_size"])) for s in TASKS})
    chooser = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW([*model.parameters(), *heads.parameters()], plan.base_lr, weight_decay=0.01)
    data = {s.name: _tensors(tasks[s.name]["train"]) for s in TASKS}
    share = max(1, plan.batch * 2 // len(TASKS))
    for step in range(plan.base_steps):
        _set_rate(optimiser, plan.base_lr, step, plan.base_steps)
        chosen = {name: _draw(rows, share, chooser, plan.shift) for name, rows in data.items()}
        output = features(model, torch.cat([x for x, _ in chosen.values()])).split([len(y) for _, y in chosen.values()])
        loss = torch.stack([
            cross_entropy(plan.logit_scale * out @ normalize(heads[name], dim=-1).T, y)
            for out, (name, (_, y)) in zip(output, chosen.items(), strict=True)
        ]).mean()  # fmt: skip
        _step(optimiser, loss, model)
    return model.eval()


def rounded(model: nn.Module) -> nn.Module:
    """The model as its half-precision file will have it."""
    model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    return model


def make_head(model: nn.Module, rows: Rows, classes: int) -> Tensor:
    """(classes, hidden) unit rows: each class's mean feature, away from the mean of all classes."""
    with torch.inference_mode():
        output = torch.cat([features(model, part) for part in pixels(rows.images).split(256)])
    labels = torch.from_numpy(rows.labels).long()
    means = torch.stack([output[labels == k].mean(0) for k in range(classes)])
    return normalize(means - means.mean(0), dim=-1)


def replay_pool(base: nn.Module, tasks: Mapping[str, Mapping[str, Rows]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Some training pictures of every task (N, 1, 28, 28) and the base's features of them (N, hidden)."""
    pool = {}
    with torch.inference_mode():
        for name, rows in tasks.items():
            images = pixels(rows["train"].images[:POOL])
            pool[name] = images, torch.cat([features(base, part) for part in images.split(256)])
    return pool


def train_expert(
    base: State, head: Tensor, rows: Rows, others: Sequence[tuple[Tensor, Tensor]], plan: Schedule, seed: int
) -> nn.Module:
    """The base, trained on one task while the features of other tasks' pictures are held (learning without forgetting).

    Without the hold, models as small as this one forget so much that the sum of six task vectors is useless.

    Args:
        base: Weights to start from.
        head: (classes, hidden), frozen.
        rows: What to learn.
        others: Pictures of the other tasks and the base's features of them.
        plan: How long and how fast.
        seed: Of the order of the rows.
    """
    model = new_model(seed)
    model.load_state_dict(base)
    chooser = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), plan.lr, weight_decay=0.0)
    data, held = _tensors(rows), torch.cat([images for images, _ in others])
    wanted = torch.cat([f for _, f in others]).clone()
    for step in range(plan.steps):
        _set_rate(optimiser, plan.lr, step, plan.steps)
        x, y = _draw(data, plan.batch, chooser, plan.shift)
        index = torch.randint(len(held), (plan.replay,), generator=chooser)
        output = features(model, torch.cat([x, held[index]]))
        loss = cross_entropy(plan.logit_scale * output[: len(y)] @ head.T, y)
        _step(optimiser, loss + plan.hold * (1 - (output[len(y) :] * wanted[index]).sum(1)).mean(), model)
    return model.eval()


def _tensors(rows: Rows) -> tuple[Tensor, Tensor]:
    return pixels(rows.images), torch.from_numpy(rows.labels).long()


def _draw(rows: tuple[Tensor, Tensor], count: int, chooser: torch.Generator, shift: int) -> tuple[Tensor, Tensor]:
    """Random rows, all moved by the same few pixels."""
    index = torch.randint(len(rows[1]), (count,), generator=chooser)
    images = rows[0][index]
    if shift:
        moves = torch.randint(-shift, shift + 1, (2,), generator=chooser).tolist()
        images = images.roll(moves, dims=(2, 3))
    return images, rows[1][index]


def _set_rate(optimiser: torch.optim.Optimizer, highest: float, step: int, steps: int) -> None:
    """Warm up over a tenth, then a cosine down to 0."""
    warm = max(1, steps // 10)
    rate = min(1.0, (step + 1) / warm) * (0.5 + 0.5 * math.cos(math.pi * max(0, step - warm) / (steps - warm)))
    for group in optimiser.param_groups:
        group["lr"] = highest * rate


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, model: nn.Module) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
