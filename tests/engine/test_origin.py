"""Who vouches for a model: nothing that a file says in its own favour counts, what it says against itself is kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from app import places
from app.cli import run
from app.demo import demo_recipe
from app.workbench import hashed, origin, origins, provenance, vouch
from engine.errors import BadProject, Mismatch
from engine.export.folder import ExportOptions, export
from engine.export.manifest import read_whole
from engine.export.origins import confirmed_hash
from engine.files.checkpoint import open_checkpoint
from engine.files.hashing import content_hash, file_hashes
from engine.files.model import Group, Place
from engine.live.gram import Gram
from engine.live.outliers import about_outliers, outliers
from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.pickles.convert import convert
from engine.recipe.origin import MOST_SOURCES, Origin, Source, about_origins, judged
from engine.recipe.recipe import ModelRef, Recipe
from engine.recipe.shipped import SHIPPED
from engine.store.confirmed import Confirmed
from tests.app.models import write_family, write_model

A, B = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user folder of the test's own: nothing is confirmed in it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("MIXDOWN_HOME", str(folder))
    return folder


def merged(base: Path, experts: list[Path], out: Path, *, single: bool = False) -> Path:
    """An export as the window and the command make it."""
    refs = tuple(ModelRef(id=f"e{i}", name=e.stem, path=str(e)) for i, e in enumerate(experts, 1))
    recipe = Recipe(base=ModelRef(id="base", name="base", path=str(base)), experts=refs)
    inputs = open_inputs(recipe)
    now = hashed(recipe, inputs)
    known = origins(now, inputs)
    path = export(make_plan(now, inputs), out.with_suffix(".safetensors") if single else out, options=ExportOptions(),
                  provenance=provenance(now, known), threads=1).path  # fmt: skip
    vouch(path, known)
    return path


def content(model: Path) -> str:
    return content_hash(open_checkpoint(model))


def confirm(model: Path) -> None:
    Confirmed(places.confirmed_file()).add(content(model), model.name)


def sources(model: Path) -> dict[str, str]:
    """Names and reasons of what nobody vouches for."""
    return {s.name: s.why for s in origin(open_checkpoint(model)).sources}


@pytest.mark.parametrize("single", [False, True])
def test_the_taint_survives_export_and_reimport_over_three_generations(tmp_path: Path, single: bool) -> None:
    base, experts = write_family(tmp_path / "models", 3)
    assert origin(open_checkpoint(base)).standing == "unverified"
    child = merged(base, experts[:2], tmp_path / "child", single=single)
    other = merged(base, experts[2:], tmp_path / "other", single=single)
    grandchild = merged(child, [other], tmp_path / "grandchild", single=single)
    found = origin(open_checkpoint(grandchild))
    assert found.standing == "tainted" and {s.name for s in found.sources} == {"base", *(e.name for e in experts)}
    assert {s.sha256 for s in found.sources} == {content(m) for m in (base, *experts)}
    told = json.loads(open_checkpoint(grandchild).metadata["mixdown"])
    assert [e["origin"] for e in told["experts"]] == ["tainted"] and told["base"]["origin"] == "tainted"
    if not single:
        assert read_whole(grandchild)[1] == told["sources"]
        card = (grandchild / "README.md").read_text()
        assert "4 unverified sources" in card and content(base) in card


def test_confirmed_sources_make_verified_children_here_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, experts = write_family(tmp_path / "models", 2)
    for model in (base, *experts):
        confirm(model)
    child = merged(base, experts, tmp_path / "child")
    assert origin(open_checkpoint(child)).standing == "verified" and read_whole(child)[1] == []
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("MIXDOWN_HOME", str(tmp_path / "elsewhere"))
    found = origin(open_checkpoint(child))  # its record claims to be clean: whoever made it wrote that
    assert found.standing == "unverified" and [s.sha256 for s in found.sources] == [content(child)]


def test_a_pickle_taints_what_is_made_of_it(tmp_path: Path) -> None:
    base, experts = write_family(tmp_path / "models", 1)
    state = load_file(experts[0] / "model.safetensors")
    torch.save({n: torch.from_numpy(a) for n, a in state.items()}, tmp_path / "late.pt")
    made = convert(tmp_path / "late.pt", tmp_path / "late.safetensors").path
    assert origin(open_checkpoint(made)).standing == "tainted" and sources(made) == {"late": "pickle"}
    child = merged(base, [made], tmp_path / "child")
    assert sources(child) == {"base": "unconfirmed", "late": "pickle"}
    assert "converted from a pickle" in (child / "README.md").read_text()


def test_an_export_that_was_changed_is_tainted_and_taints(tmp_path: Path) -> None:
    base, experts = write_family(tmp_path / "models", 1)
    child = merged(base, experts, tmp_path / "child")
    confirm(child)
    weights = child / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    assert origin(open_checkpoint(child)).standing == "tainted" and sources(child) == {"child": "changed"}
    grandchild = merged(base, [child], tmp_path / "grandchild")
    assert sources(grandchild) == {"base": "unconfirmed", "child": "changed"}


def test_exports_from_before_the_record_are_tainted_by_their_inputs() -> None:
    old = {"method": "ties", "base": {"name": "base", "sha256": A}, "experts": [{"name": "chat", "sha256": B}]}
    found = judged({"mixdown": json.dumps(old)}, name="x", sha256="c" * 64, confirmed={A})
    assert found == Origin("tainted", (Source("chat", B),))


@pytest.mark.parametrize("told", [
    "[]", "{}", "no json", '{"sources": "x"}', '{"sources": [1, null, {"sha256": 5}, {"sha256": "zz"}]}',
    '{"experts": 5, "base": "x"}', '{"sources": []}',
])  # fmt: skip
def test_strangers_records_are_not_believed(told: str) -> None:
    found = judged({"mixdown": told}, name="x\u202e", sha256=A)
    assert found == Origin("unverified", (Source("x\\u{202e}", A),))


def test_a_record_of_very_many_sources_stays_small() -> None:
    many = [{"name": "n" * 9_999, "sha256": f"{i:064x}"} for i in range(MOST_SOURCES + 50)]
    found = judged({"mixdown": json.dumps({"sources": many})}, name="x", sha256=A)
    assert len(found.sources) == MOST_SOURCES and max(len(s.name) for s in found.sources) == 200


def test_nothing_is_said_before_the_hash_is_known_and_damage_beats_confirmation() -> None:
    assert judged({}, name="x", sha256="").standing == "not checked"
    assert judged({}, name="x", sha256=A, confirmed={A}).standing == "verified"
    assert judged({}, name="x", sha256=A, confirmed={A}, agrees=False).standing == "tainted"
    assert about_origins({"a": Origin("not checked"), "b": Origin("unverified"), "c": Origin("tainted")}) == (
        "Tainted source: c. Unverified source: b."
    )


def test_a_sha256_must_be_of_every_file(tmp_path: Path) -> None:
    from tests.app.models import base_tensors, write_model

    model = open_checkpoint(write_model(tmp_path / "sharded", base_tensors(), shards=2))
    one, two = file_hashes(model).values()
    assert confirmed_hash(model, f"first {one.upper()}\nsecond: {two}") == content_hash(model)
    assert confirmed_hash(model, content_hash(model)) == content_hash(model)
    for text in (one, f"{one} {'0' * 64}", f"{one} 0{two}"):
        with pytest.raises(Mismatch, match="another one than stated"):
            confirmed_hash(model, text)
    with pytest.raises(Mismatch, match="no SHA-256"):
        confirmed_hash(model, "abc")


@pytest.mark.parametrize("text", ['{"format": 2, "sha256": {}}', "{", "[]", '{"format": 1, "sha256": 5}'])
def test_a_register_of_another_version_confirms_nothing_and_is_kept(home: Path, text: str) -> None:
    file = home / "confirmed.json"
    file.write_text(text)
    register = Confirmed(file)
    assert register.known() == {}
    with pytest.raises(BadProject):
        register.add(A, "x")
    assert file.read_text() == text


def test_the_commands_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, experts = write_family(tmp_path / "models", 1)
    child = merged(base, experts, tmp_path / "child")
    assert run(["inspect", str(base), "--source"]) == 0 and "source: Unverified source" in capsys.readouterr().out
    assert run(["verify", str(child), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["origin"]
    assert told["standing"] == "tainted" and [s["name"] for s in told["sources"]]
    assert run(["confirm", str(base), "0" * 64]) != 0 and origin(open_checkpoint(base)).standing == "unverified"
    digest = next(iter(file_hashes(open_checkpoint(base)).values()))
    assert run(["confirm", str(base), digest]) == 0
    capsys.readouterr()
    assert run(["inspect", str(base), "--source", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["origin"]["standing"] == "verified"


def test_a_damaged_export_is_tainted_whatever_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, experts = write_family(tmp_path / "models", 1)
    child = merged(base, experts, tmp_path / "child", single=True)
    tensors = load_file(child)
    with child.open("rb") as file:
        metadata = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    tensors["model.norm.weight"] += 1
    save_file(tensors, child, metadata=metadata)
    assert run(["verify", str(child), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["origin"]["standing"] == "tainted"


def gram(norms: np.ndarray, kinds: tuple[str, ...] = ("attn", "mlp")) -> Gram:
    """Task vectors of the given norms (layers, kinds, experts) over a base of norm 1."""
    groups = tuple(Group(Place(str(i), kind), (f"{i}.{kind}",), 4) for i in range(len(norms)) for kind in kinds)
    flat = norms.reshape(len(groups), -1)
    matrix = np.einsum("gt,ts->gts", flat**2, np.eye(flat.shape[1]))
    return Gram(groups, matrix, np.zeros(flat.shape), np.ones(len(groups)))


def test_a_layer_that_sticks_out_is_named_and_smooth_trends_are_not() -> None:
    layers = np.linspace(0.02, 0.06, 12)[:, None, None] * np.ones((12, 2, 2))
    assert outliers(gram(layers)) == ()
    layers[7, 0, 1] *= 8
    found = outliers(gram(layers))
    assert [(o.expert, o.layer, o.kind) for o in found] == [(1, "7", "attn")] and found[0].ratio > 4
    assert "attn of layer 7" in about_outliers("chat", found)


def test_few_layers_and_frozen_ones_say_nothing() -> None:
    few = np.ones((5, 2, 1))
    few[2] = 50
    assert outliers(gram(few)) == ()
    frozen = np.zeros((12, 2, 1))
    frozen[3] = 1
    assert outliers(gram(frozen)) == () and outliers(gram(np.ones((12, 2, 1)))) == ()


def test_the_demo_s_models_are_vouched_for_by_their_content(tmp_path: Path) -> None:
    """If this fails after `make demo`, the demo is another one: put its hashes into `engine/recipe/shipped.py`."""
    demo = demo_recipe()
    refs = [ref for ref in (demo.base, *demo.experts) if ref is not None]
    folders = [Path(ref.path) for ref in refs]
    assert {hashlib.sha256((f / "model.safetensors").read_bytes()).hexdigest() for f in folders} == set(SHIPPED)
    inputs = open_inputs(demo)
    found = origins(hashed(demo, inputs), inputs)
    assert {one.text for one in found.values()} == {"Verified source: it comes with Mixdown."}
    assert origin(open_checkpoint(folders[1] / "model.safetensors")).is_shipped
    copy = shutil.copytree(folders[1], tmp_path / "any name")
    assert origin(open_checkpoint(copy)).is_shipped, "the place does not matter"
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read()[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    other = origin(open_checkpoint(copy))
    assert (other.standing, other.is_shipped) == ("unverified", False), "but every byte does"


def test_what_is_made_of_the_demo_alone_is_verified_anywhere(tmp_path: Path, home: Path) -> None:
    demo = demo_recipe()
    assert demo.base is not None
    child = merged(Path(demo.base.path), [Path(ref.path) for ref in demo.experts[:2]], tmp_path / "child")
    assert origin(open_checkpoint(child)).standing == "verified"
    stranger = write_model(tmp_path / "stranger", load_file(Path(demo.base.path) / "model.safetensors") | {
        "more": np.ones(3, np.float32)})  # fmt: skip
    mixed = merged(child, [stranger], tmp_path / "mixed")
    assert [s.name for s in origin(open_checkpoint(mixed)).sources] == ["stranger"]
