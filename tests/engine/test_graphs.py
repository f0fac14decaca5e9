"""ONNX: exported graphs, injected weights, somebody's graphs, and which runner is taken."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from engine.errors import Cancelled, EvalProblem, WriteProblem
from engine.evaluate.data import read_classifier, read_examples
from engine.evaluate.keying import task_key
from engine.evaluate.mix import score_recipe
from engine.evaluate.model import Network, network
from engine.evaluate.runner import predict
from engine.evaluate.state import DiskState
from engine.export.folder import ExportOptions, export
from engine.files.checkpoint import open_checkpoint
from engine.graphs import child, policy, proto
from engine.graphs.own import open_graph
from engine.graphs.policy import RUNNERS, Runners, running
from engine.graphs.scoring import score_with_graph
from engine.graphs.session import Session, provider, providers
from engine.graphs.trace import __file__ as trace_source
from engine.graphs.trace import made_inputs, measure, trace
from engine.graphs.values import Measured, Spec, measured_from
from engine.graphs.writing import OnnxExported, export_onnx
from engine.merge.plan import make_plan
from engine.progress import Silent, Token
from engine.store.cache import ScoreCache
from tests.engine.evaluate_kit import CONFIG, Project

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 64, "hidden_size": 32,
    "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("onnx"))
    made.save()
    return made


@pytest.fixture(scope="session")
def graphs(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graphs of the tiny ViT and the tiny llama, traced in this process once for every version of the tracer."""
    folder = tmp_path_factory.mktemp("graphs")
    kept = pytestconfig.cache.mkdir(f"graphs-{hashlib.sha256(Path(trace_source).read_bytes()).hexdigest()[:16]}")
    for net in (network(CONFIG, "image"), network(LLAMA, "tokens", "lm")):
        spec = Spec.of(net.key)
        known = kept / f"{spec.key}.onnx"
        if not known.exists():
            state = net.module.state_dict()
            made = folder / "made.onnx"
            trace(spec, made)
            net.module.load_state_dict(state, assign=True)
            made.replace(known)
        (folder / known.name).write_bytes(known.read_bytes())
    return folder


@pytest.fixture
def runners(graphs: Path) -> Iterator[Runners]:
    """This program's runners, with these graphs."""
    RUNNERS.use("onnxruntime", graphs)
    yield RUNNERS
    RUNNERS.use("torch", None)
    RUNNERS.on_unmeasured = None


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    generator = torch.Generator().manual_seed(3)
    net = network(LLAMA, "tokens", "lm")
    state = {k: torch.randn(s, generator=generator) * 0.3 + float(len(s) == 1) for k, s in net.wanted.items()}
    save_file({k: v.to(torch.bfloat16) for k, v in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(LLAMA))
    return folder


def _weights(net: Network, folder: Path) -> dict[str, Any]:
    with DiskState(open_checkpoint(folder)) as state:
        return net.fit(state)


def test_same_predictions_and_logits(project: Project, runners: Runners) -> None:
    task, net = project.save(), network(CONFIG, "image")
    examples, head = read_examples(task, "test"), read_classifier(task)
    weights = _weights(net, project.folder / "one")
    by_onnx = predict(net, weights, task, examples, head, Silent())
    assert runners.used["vit"] == "onnxruntime"
    pixels = made_inputs(net, Spec.of(net.key), rows=5, length=0)
    with running(net, weights, Silent()) as module:
        found = module(**pixels, return_dict=True).last_hidden_state
    runners.use("torch", runners.folder)
    assert (predict(net, weights, task, examples, head, Silent()) == by_onnx).all()
    with running(net, weights, Silent()) as module, torch.inference_mode():
        wanted = module(**pixels, return_dict=True).last_hidden_state
    assert float((found - wanted).abs().max()) < 1e-4 < float(wanted.abs().max())


def test_another_merge_needs_no_new_graph(project: Project, runners: Runners) -> None:
    net = network(CONFIG, "image")
    pixels = made_inputs(net, Spec.of(net.key), rows=2, length=0)
    outputs = []
    for name in ("one", "two"):
        with running(net, _weights(net, project.folder / name), Silent()) as module:
            outputs.append(module(**pixels, return_dict=True).last_hidden_state)
    assert float((outputs[0] - outputs[1]).abs().max()) > 0.1


def test_language_model_with_padding(llama: Path, runners: Runners) -> None:
    net = network(LLAMA, "tokens", "lm")
    feeds = made_inputs(net, Spec.of(net.key), rows=4, length=11)
    assert int(feeds["attention_mask"].sum()) < feeds["attention_mask"].numel()
    weights = _weights(net, llama)
    with running(net, weights, Silent()) as module:
        found = module(**feeds, return_dict=True).logits
    with net.lent(weights, Silent()) as module, torch.inference_mode():
        wanted = module(**feeds, return_dict=True).logits
    assert found.shape == (4, 11, 64)
    assert float((found - wanted).abs().max()) < 1e-4 * max(1.0, float(wanted.abs().max()))


def test_export_keeps_names_bytes_and_origin(llama: Path, runners: Runners, tmp_path: Path) -> None:
    model = open_checkpoint(llama)
    done = export_onnx(model, tmp_path / "m.onnx", runners, metadata={"method": "ties"})
    graph = onnx.load(done.path)
    onnx.checker.check_model(graph)
    stored = {t.name: t for t in graph.graph.initializer}
    assert set(model.tensors) <= set(stored) and done.head == "lm" and not done.unused
    raw = (llama / "model.safetensors").read_bytes()
    for name, info in model.tensors.items():
        assert stored[name].data_type == TensorProto.BFLOAT16
        assert stored[name].raw_data == raw[info.start : info.start + info.size_bytes]
    assert json.loads({p.key: p.value for p in graph.metadata_props}["mixdown"]) == {"method": "ties"}
    assert done.difference < 1e-4 and "opset 20" in done.text
    assert all(d.dim_param for d in graph.graph.input[0].type.tensor_type.shape.dim)
    again = export_onnx(model, tmp_path / "again.onnx", runners, metadata={"method": "ties"})
    assert again.path.read_bytes() == done.path.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["again.onnx", "m.onnx"]


def test_export_with_external_data(llama: Path, runners: Runners, tmp_path: Path) -> None:
    done = export_onnx(open_checkpoint(llama), tmp_path / "m.onnx", runners, limit=1000)
    assert [f.name for f in done.files] == ["m.onnx", "m.onnx.data"]
    onnx.checker.check_model(str(done.path))
    whole = onnx.load(done.path)  # reads the data, too
    assert any(t.raw_data for t in whole.graph.initializer if t.name == "lm_head.weight")
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "m.onnx.data"]
    small = export_onnx(open_checkpoint(llama), tmp_path / "m.onnx", runners, replace=True)
    assert small.files == (done.path,) and os.listdir(tmp_path) == ["m.onnx"]


class _Stopping(Token):
    """Cancels at a stage."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        super().begin(total, text, unit)
        if text == self._stage:
            self.cancel()


@pytest.mark.parametrize("stage", ["Writing ONNX", "Comparing with torch"])
def test_a_cancelled_export_leaves_nothing(llama: Path, runners: Runners, tmp_path: Path, stage: str) -> None:
    (tmp_path / "keep").write_text("x")
    with pytest.raises(Cancelled):
        export_onnx(open_checkpoint(llama), tmp_path / "m.onnx", runners, limit=1000, progress=_Stopping(stage))
    assert os.listdir(tmp_path) == ["keep"]


def test_a_wrong_graph_is_not_exported(
    llama: Path, runners: Runners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.graphs import writing

    monkeypatch.setattr(writing, "_difference", lambda *_: (0.5, 1.0))
    with pytest.raises(EvalProblem, match="differ from torch"):
        export_onnx(open_checkpoint(llama), tmp_path / "m.onnx", runners)
    assert os.listdir(tmp_path) == []


def test_export_refuses_what_is_there(llama: Path, runners: Runners, tmp_path: Path) -> None:
    model, target = open_checkpoint(llama), tmp_path / "m.onnx"
    target.write_bytes(b"somebody's")
    with pytest.raises(WriteProblem, match="there already"):
        export_onnx(model, target, runners)
    with pytest.raises(WriteProblem, match="not a file that Mixdown wrote"):
        export_onnx(model, target, runners, replace=True)
    with pytest.raises(WriteProblem, match=r"ends in \.onnx"):
        export_onnx(model, tmp_path / "m.bin", runners)
    assert target.read_bytes() == b"somebody's"


@pytest.mark.parametrize("wanted", ["onnx", "both"])
def test_merge_to_onnx(project: Project, runners: Runners, tmp_path: Path, wanted: Any) -> None:
    recipe, inputs = project.mix("one", "two")
    plan, out = make_plan(recipe, inputs), tmp_path / "merged"
    options = ExportOptions(format=wanted, replace=True)
    done = export(plan, out, options=options)
    done = export(plan, out, options=options)  # it knows its own again
    names = {f.name for f in done.files}
    assert set(os.listdir(out)) == names and "model.onnx" in names
    assert ("model.safetensors" in names) == (wanted == "both")
    assert done.bytes == sum(f.stat().st_size for f in done.files)
    listed = json.loads((out / "manifest.json").read_text())["files"]
    assert set(listed) == names - {"manifest.json"}
    digest = hashlib.sha256((out / "model.onnx").read_bytes()).hexdigest()
    assert listed["model.onnx"]["sha256"] == digest
    if wanted == "both":
        assert (out / "model.onnx").stat().st_size < 200_000
    export(plan, tmp_path / "plain", options=ExportOptions())
    net = network(CONFIG, "image")
    feeds = made_inputs(net, Spec.of(net.key), rows=2, length=0)
    with Session(out / "model.onnx", {}) as session:
        found = session.run(feeds)["last_hidden_state"]
    with net.lent(_weights(net, tmp_path / "plain"), Silent()) as module, torch.inference_mode():
        assert float((found - module(**feeds).last_hidden_state).abs().max()) < 1e-4


def test_onnx_needs_a_folder(project: Project, runners: Runners, tmp_path: Path) -> None:
    plan = make_plan(*project.mix("one"))
    with pytest.raises(WriteProblem, match="a folder"):
        export(plan, tmp_path / "m.safetensors", options=ExportOptions(format="onnx"))


# Somebody's graphs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def own(project: Project, graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> OnnxExported:
    """A graph of the base, as a user might have it."""
    shelf = Runners()
    shelf.use("torch", graphs)
    return export_onnx(project.model("base"), tmp_path_factory.mktemp("own") / "own.onnx", shelf)


def _changed(own: OnnxExported, path: Path, **changes: Any) -> Path:
    model = onnx.load(own.path)
    for tensor in model.graph.initializer:
        if tensor.name in changes:
            changes[tensor.name](tensor)
    onnx.save(model, path)
    return path


def test_score_by_a_graph_of_ones_own(project: Project, own: OnnxExported, tmp_path: Path) -> None:
    task = project.save()
    for name in ("base", "one"):
        score = score_with_graph(project.model(name), None, [task], own.path, split="test")[0]
        with DiskState(project.model(name)) as state:
            assert score.correct == project.correct(dict(state))

    renamed = onnx.load(own.path)
    for tensor in renamed.graph.initializer:
        for node in renamed.graph.node:
            for at, name in enumerate(node.input):
                node.input[at] = f"wrap.{name}" if name == tensor.name else name
        tensor.name = f"wrap.{tensor.name}"
    onnx.save(renamed, tmp_path / "wrapped.onnx")
    again = score_with_graph(project.model("one"), None, [task], tmp_path / "wrapped.onnx", split="test")[0]
    assert again == score


def test_a_task_may_name_its_graph(project: Project, own: OnnxExported) -> None:
    """The task's graph runs it, whatever runner is wanted; its content is part of the score's key."""
    folder = own.path.parent
    plain, recipe = project.save(), project.mix("one", "two")
    graph = plain.path.parent / "own.onnx"
    for file in folder.iterdir():
        (graph.parent / file.name).write_bytes(file.read_bytes())
    raw = {**project.raw, "format": 2, "head": {**project.raw["head"], "type": "frozen"}}
    task = project.task({**raw, "name": "graphed", "graph": graph.name})
    assert task.graph == graph.resolve() and task.graph in task.files
    cache = ScoreCache(graph.with_name("scores.sqlite"))
    first, second = (score_recipe(*recipe, [t], cache=cache)[t.name] for t in (plain, task))
    assert (first.correct, first.count) == (second.correct, second.count)
    sure = task_key(task, Silent())
    assert sure != task_key(plain, Silent())
    for wrong in ("../../own.onnx", "own.safetensors", "/own.onnx"):
        with pytest.raises(EvalProblem, match="own"):
            project.task({**raw, "name": "bad", "graph": wrong})
    graph.write_bytes(b"no graph")
    assert task_key(task, Silent()) != sure
    with pytest.raises(EvalProblem):
        score_recipe(*recipe, [task], cache=cache)


def test_scores_of_one_runner_are_not_shown_as_the_others(
    project: Project, runners: Runners, graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, mix, cache, ran = project.save(), project.mix("one", "two"), ScoreCache(tmp_path / "s.sqlite"), list[str]()
    pick = Runners.pick

    def noted(self: Runners, net: Network, progress: Any) -> Path | None:
        ran.append(self.wanted)
        return pick(self, net, progress)

    monkeypatch.setattr(Runners, "pick", noted)

    def score(wanted: Any) -> None:
        runners.use(wanted, graphs)
        runners.used.clear()
        assert score_recipe(*mix, [task], cache=cache)[task.name].count == 64

    score("torch")
    score("torch")
    assert ran == ["torch"] and runners.used == {"vit": "torch"}
    score("onnxruntime")
    score("onnxruntime")
    assert ran == ["torch", "onnxruntime"] and runners.used == {"vit": "onnxruntime"}
    score("auto")  # either will do
    assert len(ran) == 2 and runners.used == {"vit": "torch"}
    cache.clear()
    score("onnxruntime")
    score("torch")
    assert ran[2:] == ["onnxruntime", "torch"]


def test_a_graph_with_folded_weights_is_refused(project: Project, own: OnnxExported, tmp_path: Path) -> None:
    model = onnx.load(own.path)
    name = next(t.name for t in model.graph.initializer if t.name.endswith("q_proj.weight"))
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.name = "val_7"
    for node in model.graph.node:
        for at, given in enumerate(node.input):
            node.input[at] = "val_7" if given == name else given
    onnx.save(model, tmp_path / "folded.onnx")
    with pytest.raises(EvalProblem) as caught:
        open_graph(tmp_path / "folded.onnx", {n: i.shape for n, i in project.model("base").tensors.items()})
    assert "val_7" in caught.value.message and name in caught.value.message
    assert caught.value.where.endswith("folded.onnx") and "names kept" in caught.value.hint


def test_a_graph_of_another_model_is_refused(own: OnnxExported) -> None:
    with pytest.raises(EvalProblem, match="only 0%"):
        open_graph(own.path, {"strange.matrix": (4, 4)})
    name = next(t.name for t in onnx.load(own.path).graph.initializer if t.name.endswith("q_proj.weight"))
    with pytest.raises(EvalProblem, match=r"shape \[32, 32\] in the graph"):
        open_graph(own.path, {name: (3, 3)})


def _tiny(path: Path, location: str, *, offset: str = "0", length: str = "16", key: str = "", domain: str = "") -> Path:
    """A graph with one matrix in external data."""
    weight = TensorProto(name="w", dims=[2, 2], data_type=1, data_location=1)
    for k, v in {"location": location, "offset": offset, "length": length, **({key: "1"} if key else {})}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = k, v
    node = helper.make_node("MatMul", ["x", "w"], ["y"], domain=domain)
    x, y = (helper.make_tensor_value_info(n, 1, [None, 2]) for n in "xy")
    model = helper.make_model(helper.make_graph([node], "g", [x], [y], [weight]),
                              opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("evil", 1)])  # fmt: skip
    path.write_bytes(model.SerializeToString())
    return path


def _embed(path: Path) -> bytes:
    model = proto.read_graph(path)
    proto.embed(model.graph.initializer[0], path.parent, proto.MAX_DATA)
    return bytes(model.graph.initializer[0].raw_data)


def test_external_data_stay_in_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    values = np.arange(4, dtype=np.float32).tobytes()
    for place in (tmp_path / "secret", inner / "w.data", inner / "hard"):
        place.write_bytes(values)
    (inner / "link").symlink_to(inner / "w.data")
    (inner / "way").symlink_to(tmp_path)
    os.link(inner / "hard", inner / "hard2")
    assert _embed(_tiny(inner / "m.onnx", "w.data")) == values
    for wrong in ("../secret", str(tmp_path / "secret"), "link", "way/secret", "hard", "C:\\x", "", ".", "w.data\0"):
        with pytest.raises(EvalProblem):
            _embed(_tiny(inner / "m.onnx", wrong))
    for bad in ({"offset": "-1"}, {"length": str(2**62)}, {"offset": "8"}, {"key": "__class__"}):
        with pytest.raises(EvalProblem):
            _embed(_tiny(inner / "m.onnx", "w.data", **bad))


def test_dangerous_and_damaged_graphs_are_refused(
    own: OnnxExported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EvalProblem, match="operators of its own"):
        proto.read_graph(_tiny(tmp_path / "m.onnx", "w", domain="evil"))
    (tmp_path / "noise.onnx").write_bytes(b"\x8f" * 4000)
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "cut.onnx").write_bytes(own.path.read_bytes()[:5000])
    for name in ("noise", "empty", "cut"):
        with pytest.raises(EvalProblem):
            proto.read_graph(tmp_path / f"{name}.onnx")
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], [])
    for _ in range(proto.MAX_DEPTH + 2):
        body = helper.make_graph(
            [helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)], "g", [], []
        )
        if body.ByteSize() > 200_000:
            break
    y = helper.make_tensor_value_info("y", 1, [1])
    body.output.append(y)
    (tmp_path / "deep.onnx").write_bytes(helper.make_model(body).SerializeToString())
    with pytest.raises(EvalProblem, match="nested deeper"):
        proto.read_graph(tmp_path / "deep.onnx")
    monkeypatch.setattr(proto, "MAX_NODES", 10)
    with pytest.raises(EvalProblem, match="more than 10 operators"):
        proto.read_graph(own.path)


def test_what_a_graph_wants_and_has(project: Project, own: OnnxExported, tmp_path: Path) -> None:
    shapes = {n: i.shape for n, i in project.model("base").tensors.items()}
    net = open_graph(own.path, shapes)
    weights = _weights(net, project.folder / "base")
    with Session(net.raw, weights) as session, pytest.raises(EvalProblem, match="wants an input 'pixel_values'"):
        session.run({"input_ids": torch.zeros(1, 4, dtype=torch.int64)})
    del weights[next(iter(weights))]
    with pytest.raises(EvalProblem, match="1 weight of the graph is not among the model's tensors"):
        Session(net.raw, weights)
    name = next(n for n in shapes if n.endswith("q_proj.weight"))

    def eighth(tensor: Any) -> None:
        tensor.data_type, tensor.raw_data = 17, bytes(math.prod(tensor.dims))

    with pytest.raises(EvalProblem, match="F8_E4M3 in the graph"):
        open_graph(_changed(own, tmp_path / "f8.onnx", **{name: eighth}), shapes)
    raw = helper.make_model(helper.make_graph(
        [helper.make_node("Nothing", ["x"], ["y"])], "g", [helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info("y", 1, [1])]))  # fmt: skip
    with pytest.raises(EvalProblem, match="cannot load the graph"):
        Session(raw.SerializeToString(), {})


def test_providers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    assert providers("cpu") == ["CPUExecutionProvider"]
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr("engine.graphs.session._sees_gpu", lambda: True)
    assert provider() == "CUDAExecutionProvider" and providers()[1:] == ["CPUExecutionProvider"]
    monkeypatch.setattr("engine.graphs.session._sees_gpu", lambda: False)
    assert provider() == "CPUExecutionProvider"
    with pytest.raises(EvalProblem, match="no CUDA provider"):
        providers("cuda")


def test_a_run_is_cancelled_while_it_runs(tmp_path: Path) -> None:
    """A loop of a million turns ends soon after the user's wish."""
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Add", ["v", "one"], ["v2"])], "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("c", 9, []),
         helper.make_tensor_value_info("v", 1, [1])],
        [helper.make_tensor_value_info("c2", 9, []), helper.make_tensor_value_info("v2", 1, [1])], [one],
    )  # fmt: skip
    count = numpy_helper.from_array(np.array(200_000_000, np.int64), "n")
    yes = numpy_helper.from_array(np.array(True), "yes")
    x, y = (helper.make_tensor_value_info(name, 1, [1]) for name in "xy")
    loop = helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=body)
    graph = helper.make_graph([loop], "g", [x], [y], [count, yes])
    raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    token = Token()
    threading.Timer(0.3, token.cancel).start()
    with Session(raw, {}, progress=token) as session, pytest.raises(Cancelled):
        session.run({"x": torch.zeros(1)})


# The choice ---------------------------------------------------------------------------------------------------


def test_the_choice_follows_what_was_measured(project: Project, graphs: Path, tmp_path: Path) -> None:
    net, told = network(CONFIG, "image"), list[Spec]()
    spec, mine = Spec.of(net.key), Runners()
    graph = tmp_path / f"{spec.key}.onnx"
    graph.write_bytes((graphs / graph.name).read_bytes())
    mine.use("auto", tmp_path)
    mine.on_unmeasured = told.append
    assert mine.pick(net, Silent()) is None and mine.pick(net, Silent()) is None and told == [spec]
    for measured, wanted in (
        (Measured(0.2, 0.1, 1e-6, 1.0, "CPU"), graph),
        (Measured(0.1, 0.2, 1e-6, 1.0, "CPU"), None),
        (Measured(0.2, 0.1, 1e-2, 1.0, "CPU"), None),
        (Measured(0.2, 0.1, math.nan, math.nan, "CPU"), None),
    ):
        (tmp_path / "speeds.json").write_text(json.dumps({spec.key: measured.plain()}))
        fresh = Runners()
        fresh.use("auto", tmp_path)
        assert fresh.pick(net, Silent()) == wanted
    (tmp_path / "speeds.json").write_text('{"a": 3, "b": {"torch_s": "x"}')
    fresh = Runners()
    fresh.use("auto", tmp_path)
    assert fresh.speeds() == {} and measured_from({"torch_s": True}) is None
    fresh.use("torch", tmp_path)
    assert fresh.pick(net, Silent()) is None


def test_measuring_compares_the_same_batches(graphs: Path) -> None:
    net = network(CONFIG, "image")
    spec = Spec.of(net.key)
    state = net.module.state_dict()
    try:
        found = measure(spec, graphs / f"{spec.key}.onnx")
    finally:
        net.module.load_state_dict(state, assign=True)
    assert found.agrees and 0 < found.onnx_s < 10 and 0 < found.torch_s < 10 and found.scale > 0.1
    assert found.faster in found.text


def test_graphs_are_bounded(graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(spec: Spec, graph: Path, progress: Any, *, measure: bool) -> None:
        graph.write_bytes(b"x")

    monkeypatch.setattr(child, "traced", fake)
    mine = Runners()
    mine.use("onnxruntime", tmp_path)
    spec = Spec.of(network(CONFIG, "image").key)
    for number in range(policy.KEPT + 5):
        path = mine.graph(replace(spec, classes=number), Silent())
        os.utime(path, (number, number))
    assert len(list(tmp_path.glob("*.onnx"))) <= policy.KEPT + 1


def test_a_cancelled_trace_ends_its_process(tmp_path: Path) -> None:
    token = Token()
    threading.Timer(0.5, token.cancel).start()
    with pytest.raises(Cancelled):
        child.traced(Spec.of(network(CONFIG, "image").key), tmp_path / "g.onnx", token, measure=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.soak
def test_tracing_in_a_process_of_its_own(tmp_path: Path) -> None:
    spec = Spec.of(network(CONFIG, "image").key)
    found = child.traced(spec, tmp_path / "g.onnx", Silent(), measure=True)
    assert found is not None and found.agrees and os.listdir(tmp_path) == ["g.onnx"]


def test_nothing_heavy_is_imported_early() -> None:
    import subprocess
    import sys

    code = ("import sys, engine.graphs.policy, engine.graphs.values, engine.graphs.child, app.cli_onnx, app.cli\n"
            "bad = {'onnx', 'onnxruntime', 'onnxscript', 'torch', 'transformers'} & set(sys.modules)\n"
            "sys.exit(repr(bad) if bad else 0)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
