"""Finding the base among models: right in every order, honest where it cannot be told."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import Cancelled
from engine.files.ancestry import detect_base
from engine.files.checkpoint import open_checkpoint
from engine.files.model import Checkpoint
from engine.progress import Token
from tests.engine.file_maker import Arrays, save, save_folder

BENCH = Path(os.environ.get("MIXDOWN_SHARED", "/work/shared")) / "data" / "bench8-text"
SHAPES = {
    f"layers.{i}.{name}.weight": shape for i in range(4) for name, shape in (("attn", (40, 40)), ("mlp", (80, 40)))
}


def fresh(seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape) * 0.05 for name, shape in shapes.items()} | {"norm": np.ones(40)}


def tuned(base: Arrays, seed: int, amount: float = 0.004) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1000 + seed)
    return {name: x + random.standard_normal(x.shape) * amount for name, x in base.items()}


def opened(folder: Path, name: str, arrays: Arrays, dtype: str = "F32") -> Checkpoint:
    return open_checkpoint(save(folder / f"{name}.safetensors", arrays, dtype))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_base_is_found_in_any_company(tmp_path: Path, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 8), "experts")
    strangers = data.draw(st.integers(0, min(2, count - 1)), "strangers")
    dtype = data.draw(st.sampled_from(["F32", "BF16", "F16"]), "dtype")
    seed = data.draw(st.integers(0, 99), "seed")
    base = fresh(seed)
    amounts = [data.draw(st.floats(0.002, 0.02), "amount") for _ in range(count)]
    models = {"b": base, **{f"e{i}": tuned(base, seed + i, amount) for i, amount in enumerate(amounts)}}
    models |= {f"s{i}": fresh(seed + 500 + i) for i in range(strangers)}
    order = data.draw(st.permutations(list(models)), "order")
    found = detect_base([opened(tmp_path, name, models[name], dtype) for name in order])
    assert found.base == order.index("b")
    assert found.certain
    assert {order[i] for i in found.strangers} == {name for name in models if name[0] == "s"}
    assert {order[i] for i in found.siblings} == {name for name in models if name[0] == "e"}
    assert found.scores[found.base] == max(found.scores) > 0.875


def test_models_of_another_family_are_strangers(tmp_path: Path) -> None:
    base = fresh(1)
    other = fresh(2, {"conv.weight": (3, 3, 3, 3), "fc.weight": (10, 40)})
    wide = fresh(3, {name: (shape[0], 48) for name, shape in SHAPES.items()})
    models = [other, tuned(base, 1), base, wide, tuned(base, 2)]
    found = detect_base([opened(tmp_path, f"m{i}", arrays) for i, arrays in enumerate(models)])
    assert (found.base, found.certain, found.strangers, found.siblings) == (2, True, (0, 3), (1, 4))


def test_only_fine_tunes_have_no_base_among_them(tmp_path: Path) -> None:
    base = fresh(5)
    for count in (3, 5):
        found = detect_base([opened(tmp_path, f"m{i}", tuned(base, i)) for i in range(count)])
        assert (found.base, found.certain, found.siblings) == (None, False, tuple(range(count)))
    nearly = [tuned(base, 0), tuned(base, 1, 0.002), tuned(base, 2)]
    assert not detect_base([opened(tmp_path, f"m{i}", arrays) for i, arrays in enumerate(nearly)]).certain


def test_unrelated_models_are_all_strangers(tmp_path: Path) -> None:
    found = detect_base([opened(tmp_path, f"m{i}", fresh(i)) for i in range(3)])
    assert (found.base, found.strangers) == (None, (0, 1, 2))
    assert "not related" in found.reason


@pytest.mark.parametrize(
    ("first", "second", "base"),
    [("alpha", "beta", None), ("llama-base", "llama-chat", 0), ("vit-sst2", "vit", 1), ("one-chat", "two-chat", None),
     ("roberta-base", "roberta-base-finetuned-sst2", 0), ("model-it", "model", 1)],
)  # fmt: skip
def test_two_files_are_decided_by_hints_only(tmp_path: Path, first: str, second: str, base: int | None) -> None:
    weights = fresh(3)
    found = detect_base([opened(tmp_path, first, weights), opened(tmp_path, second, tuned(weights, 1))])
    assert (found.base, found.certain) == (base, False)
    if base is None:
        assert "cannot be told" in found.reason


def test_what_lies_beside_the_weights_is_a_hint(tmp_path: Path) -> None:
    weights = fresh(3)
    whole = opened(tmp_path, "alpha", weights)
    part = {name: x for name, x in tuned(weights, 1).items() if not name.startswith("layers.0")}
    absent = detect_base([opened(tmp_path, "beta", part), whole])
    assert (absent.base, absent.certain) == (1, False)
    assert "2 tensors that no other brings" in absent.reason
    folder = save_folder(tmp_path / "gamma", {"model.safetensors": tuned(weights, 2)}, index=False,
                         config={"_name_or_path": "someone/alpha"})  # fmt: skip
    named = detect_base([whole, open_checkpoint(folder)])
    assert (named.base, named.certain) == (0, False)


def test_names_do_not_outvote_the_weights(tmp_path: Path) -> None:
    base = fresh(7)
    models = {"x-base": tuned(base, 1), "x-chat": tuned(base, 2), "x-code-it": tuned(base, 3)}
    assert detect_base([opened(tmp_path, name, arrays) for name, arrays in models.items()]).base is None


def test_fine_tunes_of_biases_and_norms_only(tmp_path: Path) -> None:
    base = fresh(4) | {f"bias.{i}": np.random.default_rng(i).standard_normal(500) for i in range(4)}
    experts = [{k: x if x.ndim > 1 else y for (k, x), y in zip(base.items(), tuned(base, i, 0.1).values(), strict=True)}
               for i in range(3)]  # fmt: skip
    found = detect_base([opened(tmp_path, f"m{i}", arrays) for i, arrays in enumerate([*experts, base])])
    assert (found.base, found.certain) == (3, True)


def test_families_of_equal_size_are_not_mixed_up(tmp_path: Path) -> None:
    models = [arrays for seed in (1, 2) for arrays in (fresh(seed), tuned(fresh(seed), seed))]
    found = detect_base([opened(tmp_path, f"m{i}", arrays) for i, arrays in enumerate(models)])
    assert (found.base, found.strangers) == (None, ())
    assert "several families" in found.reason


def test_copies_are_never_called_the_base_with_certainty(tmp_path: Path) -> None:
    base = fresh(3)
    same = [opened(tmp_path, "a", base), opened(tmp_path, "b", base)]
    assert detect_base(same).base is None
    assert "the same" in detect_base(same).reason
    found = detect_base([*same, opened(tmp_path, "c", tuned(base, 1)), opened(tmp_path, "d", tuned(base, 2))])
    assert found.base in (0, 1)
    assert not found.certain
    twice = [opened(tmp_path, name, tuned(base, 1)) for name in ("c", "d")]
    found = detect_base([*twice, same[0], opened(tmp_path, "e", tuned(base, 2))])
    assert (found.base, found.certain) == (2, True)


def test_bad_values_one_model_and_cancelling(tmp_path: Path) -> None:
    base = fresh(3)
    broken = tuned(base, 1)
    broken["layers.0.mlp.weight"][:] = np.nan
    models = [opened(tmp_path, "b", broken), opened(tmp_path, "a", base), opened(tmp_path, "c", tuned(base, 2))]
    assert detect_base(models).base in (1, None)
    assert detect_base(models[:1]).base is None
    assert detect_base([]).base is None
    token = Token()
    token.cancel()
    with pytest.raises(Cancelled):
        detect_base(models, token)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """bench8-text: the base, then the eight fine-tunes complete with the embeddings that they share."""
    if not BENCH.is_dir():
        pytest.skip("bench8-text is not here")
    models = [open_checkpoint(BENCH / "base")]
    for expert in sorted((BENCH / "experts").iterdir()):
        folder = tmp_path_factory.mktemp("bench") / expert.name
        folder.mkdir()
        for file in (BENCH / "base").iterdir():
            (folder / file.name).symlink_to(file) if file.suffix != ".safetensors" else shutil.copy(file, folder)
        (folder / "config.json").unlink()
        (folder / "model.safetensors.index.json").unlink()
        shutil.copy(BENCH / "base" / "model.safetensors.index.json", folder)
        shutil.copy(expert / "model.safetensors", folder / "model-00002-of-00002.safetensors")
        models.append(open_checkpoint(folder))
    return models


def test_real_fine_tunes_in_every_company_of_one_to_eight(bench: list[Checkpoint]) -> None:
    random = np.random.default_rng(0)
    for count in range(2, 9):
        for chosen in list(itertools.combinations(range(1, 9), count))[:: 9 if count < 7 else 1]:
            order = [int(i) for i in random.permutation([0, *chosen])]
            found = detect_base([bench[i] for i in order])
            assert found.base is not None
            assert (order[found.base], found.certain, found.strangers) == (0, True, ())
            assert not detect_base([bench[i] for i in chosen]).certain


def test_real_fine_tunes_without_their_frozen_tensors(bench: list[Checkpoint]) -> None:
    bare = [open_checkpoint(folder) for folder in sorted((BENCH / "experts").iterdir())]
    found = detect_base([*bare[:5], bench[0], *bare[5:]])
    assert (found.base, found.certain) == (5, True)
    pair = detect_base([bare[0], bench[0]])
    assert (pair.base, pair.certain) == (1, False)


def test_nine_models_take_less_than_a_second(bench: list[Checkpoint]) -> None:
    start = time.process_time()
    detect_base(bench)
    assert time.process_time() - start < 1
