"""The bitmap of a matrix against numpy loops: every mode, every level, tiles, pyramid, sample and cursor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from engine.analyse import bitmap, bitmap_pyramid
from engine.analyse.bitmap import MODES, Blocks, blocks_of, codes, values
from engine.analyse.bitmap_pyramid import Pyramid
from engine.analyse.bitmap_source import EVERYTHING, Matrix, Rect, matrices
from engine.errors import Cancelled, Mismatch, UnknownSelection
from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.merge.run import merged_state
from engine.progress import Token
from engine.recipe.recipe import ModelRef, Recipe

NAME, SHAPE, T = "model.layers.0.mlp.up_proj.weight", (37, 22), 3
LEVELS = range(7)


def _write(path: Path, seed: int, base: np.ndarray | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = rng.normal(0, 1, SHAPE) if base is None else base + np.round(rng.normal(0, 1, SHAPE)) * 0.125
    made = made.astype(np.float32)
    other = np.linspace(-1, 1, 12, dtype=np.float32) + np.float32(seed)
    save_file({NAME: made, "model.norm.weight": other}, path)
    return made


def _recipe(tmp_path: Path, method: str = "ties", **params: Any) -> tuple[Recipe, list[np.ndarray]]:
    """Base and three experts whose deltas are multiples of 1/8: many zeros and many ties."""
    base = _write(tmp_path / "base.safetensors", 0)
    made = [base]
    experts = []
    for t in range(T):
        made.append(_write(tmp_path / f"e{t}.safetensors", t + 1, base))
        experts.append(ModelRef(id=f"e{t}", name=f"e{t}", path=str(tmp_path / f"e{t}.safetensors")))
    ref = ModelRef(id="base", name="base", path=str(tmp_path / "base.safetensors"))
    return Recipe(base=ref, experts=tuple(experts), method=method, params=params), made


@pytest.fixture
def ties(tmp_path: Path) -> Iterator[tuple[Matrix, list[np.ndarray]]]:
    """A decided matrix of a TIES recipe with density 0.4, and the weights in it."""
    recipe, made = _recipe(tmp_path, density=0.4)
    with Matrix(recipe, open_inputs(recipe), NAME) as matrix:
        matrix.decide()
        yield matrix, made


def _pixelwise(made: list[np.ndarray], density: float, other: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Every field of every weight by plain numpy: TIES with a global trim, all ties kept."""
    taus = np.stack([m - made[0] for m in made[1:]])
    kept = np.zeros(taus.shape)
    for t in range(T):
        sizes = np.sort(np.abs(np.concatenate([taus[t].ravel(), other[t]])))
        limit = sizes[len(sizes) - int(density * len(sizes)) - 1]
        kept[t] = (np.abs(taus[t]) >= limit) & (taus[t] != 0)
    sign = np.sign((taus * kept).sum(0))
    sign[sign == 0] = _majority(taus * kept, other, density)
    owner = np.where((taus != 0).any(0), np.abs(taus).argmax(0), T)
    elected = np.sign(taus.sum(0))
    return {
        "kept": kept, "sign": sign, "owner": owner, "magnitude": np.abs(taus),
        "against": (taus * elected < 0).sum(0), "changed": (taus != 0).sum(0),
    }  # fmt: skip


def _majority(kept: np.ndarray, other: list[np.ndarray], density: float) -> float:
    del density  # the norms' deltas are 1, 2 and 3, all kept
    votes = np.sign(kept.sum(0)).sum() + np.sign(np.sum(other, axis=0)).sum()
    return float(np.sign(votes)) or -1.0


def _block_values(plain: dict[str, np.ndarray], mode: str, expert: int, level: int) -> np.ndarray:
    """Block values by two plain loops."""
    size = 1 << level
    shape = (blocks_of(SHAPE[0], level), blocks_of(SHAPE[1], level))
    out = np.full(shape, np.nan)
    for r in range(shape[0]):
        for c in range(shape[1]):
            cut = np.s_[..., r * size : (r + 1) * size, c * size : (c + 1) * size]
            if mode == "owner":
                out[r, c] = np.bincount(plain["owner"][cut].ravel(), minlength=T + 1).argmax()
            elif mode == "conflict":
                changed = plain["changed"][cut].sum()
                out[r, c] = plain["against"][cut].sum() / changed if changed else np.nan
            elif mode == "sign":
                out[r, c] = plain["sign"][cut].mean()
            else:
                field = plain[mode][cut]
                out[r, c] = field[expert].mean() if expert >= 0 else field.mean()
    return out


def _plain(made: list[np.ndarray], density: float = 0.4) -> dict[str, np.ndarray]:
    return _pixelwise(made, density, [np.full(12, float(t + 1)) for t in range(T)])


@pytest.mark.parametrize("mode", MODES)
def test_every_level_of_every_mode_is_what_loops_give(ties: tuple[Matrix, list[np.ndarray]], mode: Any) -> None:
    matrix, made = ties
    pyramid = Pyramid(matrix)
    pyramid.fill(threads=1)
    plain = _plain(made)
    assert pyramid.first == 0 and len(pyramid.levels) == 7
    for level in LEVELS:
        for expert in (-1, 0, 2):
            found = values(pyramid.levels[level], mode, expert)
            np.testing.assert_allclose(found, _block_values(plain, mode, expert, level), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_tiles_from_files_and_from_any_pyramid_agree(
    ties: tuple[Matrix, list[np.ndarray]], mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix, made = ties
    for module in (bitmap, bitmap_pyramid):
        monkeypatch.setattr(module, "TILE", 4)
    monkeypatch.setattr("engine.analyse.bitmap_source.TILE", 4)
    monkeypatch.setattr("engine.analyse.bitmap_source.BAND", 22 * 3)
    monkeypatch.setattr(bitmap_pyramid, "BAND", 22 * 3)
    coarse = Pyramid(matrix, most_bytes=900)
    coarse.fill(threads=2)
    assert coarse.first > 0 and coarse.is_complete
    plain = _plain(made)
    for level in range(5):
        whole = _block_values(plain, mode, 1, level)
        for down in range(-(-whole.shape[0] // 4)):
            for across in range(-(-whole.shape[1] // 4)):
                want = whole[down * 4 : down * 4 + 4, across * 4 : across * 4 + 4]
                read = values(matrix.tile(level, down, across, mode), mode, 1)
                np.testing.assert_allclose(read, want, rtol=1e-6)
                held = coarse.tile(level, down, across)
                assert (held is None) == (level < coarse.first)
                if held is not None:
                    np.testing.assert_allclose(values(held, mode, 1), want, rtol=1e-6)


def test_a_cancelled_pyramid_goes_on_where_it_stopped(
    ties: tuple[Matrix, list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitmap_pyramid, "BAND", 22 * 2)
    matrix, made = ties
    pyramid, token = Pyramid(matrix), Token()
    seen: list[int] = []
    blocks = matrix.blocks

    def counting(rect: Rect, fields: frozenset[str], **extra: Any) -> Blocks:
        seen.append(rect.top)
        if len(seen) == 5:
            token.cancel()
        return blocks(rect, fields, **extra)

    monkeypatch.setattr(matrix, "blocks", counting)
    with pytest.raises(Cancelled):
        pyramid.fill(token, threads=1)
    done = pyramid.done
    assert 0 < done < SHAPE[0] and pyramid.tile(0, 0, 0) is None
    seen.clear()
    pyramid.fill(threads=1)
    assert min(seen) == done and pyramid.is_complete
    np.testing.assert_allclose(values(pyramid.levels[0], "sign"), _plain(made)["sign"])


def test_the_cursor_reads_what_the_merge_writes(tmp_path: Path) -> None:
    recipe, made = _recipe(tmp_path, density=0.4)
    inputs = open_inputs(recipe)
    state = merged_state(make_plan(recipe, inputs), threads=1)[NAME].numpy()
    with Matrix(recipe, inputs, NAME) as matrix:
        assert matrix.reading(0, 0).merged is None and matrix.reading(0, 0).note == "being measured"
        matrix.decide()
        plain = _plain(made)
        for row, column in ((0, 0), (36, 21), (17, 3), (5, 20)):
            found = matrix.reading(row, column)
            assert found.base == made[0][row, column] and found.merged == state[row, column]
            assert found.experts == tuple(m[row, column] for m in made[1:])
            assert found.kept == tuple(bool(k) for k in plain["kept"][:, row, column])
            assert found.sign == plain["sign"][row, column] and found.owner == plain["owner"][row, column]


@pytest.mark.parametrize("method", ["consensus", "task_arithmetic", "dare_linear", "breadcrumbs", "slerp", "tsv_m"])
def test_other_methods_show_a_tall_mask_and_their_own_merged_value(tmp_path: Path, method: str) -> None:
    recipe, made = _recipe(tmp_path, method)
    if method == "slerp":
        recipe = Recipe(base=recipe.base, experts=recipe.experts[:1], method=method)
    inputs = open_inputs(recipe)
    with Matrix(recipe, inputs, NAME) as matrix:
        matrix.decide()
        found = matrix.reading(4, 7)
        if method == "tsv_m":
            assert found.merged is None and "after the merge" in found.note
        else:
            assert found.merged == merged_state(matrix.plan, threads=1)[NAME][4, 7].item()
        assert "TALL" in matrix.rule.mask
        taus = np.stack([m - made[0] for m in made[1:]])[: len(recipe.experts)]
        taus = taus * np.float32(matrix.rule.weights[0])
        masks = np.abs(taus) > np.float32(0.4) * np.abs(taus.sum(0) - taus)
        shown = matrix.blocks(Rect(0, 0, *SHAPE), EVERYTHING)
        assert shown.kept is not None and (shown.kept == masks).all()


def test_silent_experts_keep_and_own_nothing(tmp_path: Path) -> None:
    recipe, _ = _recipe(tmp_path)
    muted = recipe.with_muted("e0", True)
    with Matrix(muted, open_inputs(muted), NAME) as matrix:
        matrix.decide()
        shown = matrix.blocks(Rect(0, 0, *SHAPE), EVERYTHING)
        assert shown.kept is not None and shown.owners is not None and shown.sizes is not None
        assert shown.kept[0].sum() == 0 and shown.owners[0].sum() == 0 and shown.sizes[0].sum() > 0
        assert shown.kept[1].sum() > 0


def test_the_sample_reads_the_middle_row_of_every_block(ties: tuple[Matrix, list[np.ndarray]]) -> None:
    matrix, made = ties
    found = matrix.sampled("magnitude", most=16)
    assert found.step == 1 and found.level == 2 and found.shape == (10, 6)
    rows = np.minimum(np.arange(10) * 4 + 2, 36)
    tau = np.abs(made[2] - made[0])[rows]
    want = np.stack([tau[:, c * 4 : c * 4 + 4].mean(1) for c in range(6)], axis=1)
    np.testing.assert_allclose(values(found, "magnitude", 1), want, rtol=1e-6)
    thin = matrix.sampled("kept", most=3)
    assert thin.level == 4 and thin.step == 2 and thin.shape == (3, 2)
    seen = _plain(made)["kept"][0][[8, 24, 36], ::2]
    np.testing.assert_allclose(values(thin, "kept", 0), np.stack([seen[:, :8].mean(1), seen[:, 8:].mean(1)], 1))
    assert matrix.sampled("owner", most=64).step == 0


def test_codes_are_monotone_and_keep_nothing_apart() -> None:
    sizes = np.array([0.0, 1e-9, 1e-5, 1e-3, 0.1, 10.0])
    made = codes(sizes, "magnitude", 3)
    assert made[0] == 0 and (np.diff(made.astype(int)) > 0).all()
    assert bitmap.magnitude_of(float(made[3])) == pytest.approx(1e-3, rel=0.06)
    assert codes(np.array([np.nan, 0.0, 1.0]), "conflict", 3).tolist() == [0, 1, 255]
    assert codes(np.array([-1.0, 0.0, 1.0]), "sign", 3).tolist() == [1, 128, 255]
    assert codes(np.array([0.0, 2.0, 3.0]), "owner", 3).tolist() == [0, 2, bitmap.NOBODY]


def test_what_cannot_be_looked_at_is_said(tmp_path: Path) -> None:
    recipe, _ = _recipe(tmp_path)
    inputs = open_inputs(recipe)
    assert matrices(inputs) == (NAME,)
    with pytest.raises(UnknownSelection):
        Matrix(recipe, inputs, "nothing")
    alone = Recipe(experts=recipe.experts, method="linear")
    with pytest.raises(Mismatch):
        Matrix(alone, open_inputs(alone), NAME)


def test_memory_is_bounded_whatever_the_size() -> None:
    for experts in (1, 3, 12, 20):
        level = bitmap.first_level(16_384, 16_384, experts, 96 << 20)
        side = 16_384 >> level
        each = sum(bitmap.stored_as(n, level, experts).itemsize * k
                   for n, k in (("kept", experts), ("owners", experts + 1), ("sign", 1), ("sizes", experts),
                                ("against", 1), ("changed", 1)))  # fmt: skip
        assert side * side * each * 4 / 3 <= 96 << 20
    assert torch.get_num_threads() >= 1
