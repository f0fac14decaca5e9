"""The network of a configuration, built once without weights; weights are lent to it for each evaluation.

transformers is imported at first use, offline, and only for its classes: `AutoConfig.for_model` and
`AutoModel.from_config`, never `from_pretrained`.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.errors import EvalProblem, MixdownError
from engine.evaluate.config import Kind, reduce_config
from engine.evaluate.headed import match_headed
from engine.evaluate.keys import match_keys
from engine.files.text import listed, printable
from engine.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

_POLL_S = 0.02
MAX_BUFFER = 1 << 26
"""Most elements of anything that is computed while a network is built."""
KEPT = 4
"""Networks kept ready; one without weights takes a few megabytes."""

_ready: OrderedDict[tuple[str, str], Network] = OrderedDict()
_lock = threading.Lock()


@dataclass(eq=False)
class Network:
    """A transformers network whose parameters are placeholders.

    Attributes:
        module: The encoder, in eval mode; parameters on the meta device, buffers computed.
        model_type: Architecture as transformers calls it.
        wanted: Shape of every weight and stored buffer.
        tied: Names that are one and the same parameter, as groups.
        costs: Multiply-adds of one position of the input: elements of all matrices that are not look-up tables.
        vocabulary: Number of token ids, 0 for images.
        positions: Longest input, 0 if unlimited.
        patch: Edge of an image patch, 0 if the images are convolved whole.
        head: "" for the encoder alone, else which head is on it: "class" or "lm".
        key: What `network` built it from: kind, head and classes; model type and fields as JSON.
        lock: Held while weights are lent.
        watch: Asked before every layer; set by whoever holds the lock.
    """

    module: nn.Module
    model_type: str
    wanted: Mapping[str, tuple[int, ...]]
    tied: Sequence[frozenset[str]]
    costs: int
    vocabulary: int
    positions: int
    patch: int
    head: str = ""
    key: tuple[str, str] = ("", "")
    lock: threading.Lock = field(default_factory=threading.Lock)
    watch: Callable[[], None] | None = None
    _matched: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    def match(self, names: Sequence[str]) -> dict[str, str]:
        """Which tensor of a checkpoint fills which weight; see `engine.evaluate.keys.match_keys`."""
        known = tuple(names)
        with _lock:
            matched = self._matched.get(known)
        if matched is None:
            renamings = _renamings(self.module)
            if self.head:
                prefix = str(getattr(self.module, "base_model_prefix", ""))
                matched = match_headed(self.wanted, known, renamings, self.tied, prefix)
            else:
                matched = match_keys(self.wanted, known, renamings, self.tied)
            with _lock:
                if len(self._matched) >= KEPT:
                    self._matched.clear()
                self._matched[known] = matched
        return matched

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
        """Make sure that a checkpoint's tensors fit, before any is read; returns `match` of their names.

        Raises:
            EvalProblem: if weights are missing or have another shape than the configuration says.
        """
        matched = self.match(tuple(shapes))
        for key, name in matched.items():
            if tuple(shapes[name]) != self.wanted[key]:
                raise _wrong_shape(name, shapes[name], self.wanted[key])
        return matched

    @contextmanager
    def lent(self, weights: Mapping[str, Tensor], progress: Progress) -> Iterator[nn.Module]:
        """The module with the weights of `fit`, for the caller alone (it may use several threads).

        Args:
            weights: Used as they are, not copied.
            progress: Asked while another evaluation has the module, and before every layer.

        Raises:
            Cancelled: if the user stopped the job that waits.
        """
        while not self.lock.acquire(timeout=_POLL_S):
            progress.check()
        try:
            placeholders = self.module.state_dict()
            try:
                self.watch = progress.check
                self.module.load_state_dict(weights, assign=True)
                yield self.module
            finally:
                self.watch = None
                self.module.load_state_dict(placeholders, assign=True)
        finally:
            self.lock.release()

    def fit(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint's tensors under the network's names, in float32.

        Raises:
            EvalProblem: if weights are missing or have another shape than the configuration says.
        """
        import torch

        from engine.merge.crew import Crew

        def read(key: str) -> tuple[str, Tensor]:
            tensor = state[matched[key]].detach()
            if tuple(tensor.shape) != self.wanted[key]:
                raise _wrong_shape(matched[key], tensor.shape, self.wanted[key])
            return key, tensor.to("cpu", torch.float32) if tensor.is_floating_point() else tensor.cpu()

        matched = self.match(tuple(state))
        with Crew() as crew:
            fitted = dict(crew.map(matched, read))
        for group in self.tied:
            shared = next((fitted[key] for key in sorted(group) if key in fitted), None)
            if shared is not None:
                fitted.update(dict.fromkeys(group - fitted.keys(), shared))
        return {k: fitted[k] if k in fitted else torch.zeros(shape) for k, shape in self.wanted.items()}


def _wrong_shape(name: str, shape: Sequence[int], wanted: Sequence[int]) -> EvalProblem:
    return EvalProblem(
        f"The tensor has shape {list(shape)}; the configuration says {list(wanted)}.",
        where=printable(name),
        hint="config.json and the weights do not belong together; get the model again.",
    )


def network(config: Mapping[str, Any] | None, kind: Kind, head: str = "", classes: int = 0) -> Network:
    """The network for a configuration, built at first use and then kept.

    Args:
        config: config.json as data.
        kind: Which tower of a two-tower model.
        head: "" for the encoder alone, "class" with the architecture's classifier, "lm" as causal language model.
        classes: Outputs of the classifier.

    Raises:
        EvalProblem: if transformers does not know the architecture or cannot build it.
    """
    model_type, fields = reduce_config(config, kind, _known())
    key = (f"{kind} {head} {classes}", json.dumps([model_type, fields], sort_keys=True))
    with _lock:
        if key not in _ready:
            _ready[key] = _build(model_type, fields, f"{kind} {head}" if head else "", classes)
            _ready[key].key = key
            while len(_ready) > KEPT:
                _ready.popitem(last=False)
        _ready.move_to_end(key)
        return _ready[key]


def _known() -> Mapping[str, Any]:
    """Transformers' configuration classes; imports it offline at first use."""
    with _lock:
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1",
                          TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")  # fmt: skip
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    known: Mapping[str, Any] = CONFIG_MAPPING
    return known


def _build(model_type: str, fields: Mapping[str, Any], head: str = "", classes: int = 0) -> Network:
    import torch
    from transformers import AutoConfig

    from engine.evaluate.headed import factory

    try:
        config = AutoConfig.for_model(model_type, **fields, **({"num_labels": classes} if classes else {}))
        with _placeholders():
            module = factory(head, type(config), model_type).from_config(config, dtype=torch.float32)
        if getattr(config, "is_encoder_decoder", False) and not head:
            module = module.get_encoder()
    except MixdownError:
        raise
    except Exception as error:  # whatever third-party code says about a stranger's numbers
        raise EvalProblem(
            f"The {model_type} network of config.json cannot be built: {printable(error, 300)}",
            hint="Check config.json; merging and exporting work without it.",
        ) from error
    module.eval().requires_grad_(False)
    unset = [name for name, buffer in module.named_buffers() if buffer.is_meta and name not in module.state_dict()]
    if unset:
        raise EvalProblem(f"Quick evaluation cannot prepare {listed(unset)} of {model_type}.",
                          hint="Merging and exporting work without it.")  # fmt: skip
    net = _described(module, model_type, config)
    net.head = head.rpartition(" ")[2]
    return _watched(net)


def _watched(net: Network) -> Network:
    """Have the network ask before every layer, so that one row of a large model can be cancelled too."""
    from torch import nn

    def ask(module: nn.Module, inputs: Any) -> None:
        if net.watch is not None:
            net.watch()

    for stack in net.module.modules():
        if isinstance(stack, nn.ModuleList):
            for layer in stack:
                layer.register_forward_pre_hook(ask)
    return net


def _described(module: nn.Module, model_type: str, config: Any) -> Network:
    from torch import nn

    groups: dict[int, set[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), set()).add(name)
    tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    patch = getattr(config, "patch_size", 0)
    return Network(
        module=module,
        model_type=model_type,
        wanted={name: tuple(tensor.shape) for name, tensor in module.state_dict().items()},
        tied=[frozenset(names) for names in groups.values() if len(names) > 1],
        costs=sum(p.numel() for p in module.parameters() if p.dim() > 1 and id(p) not in tables),
        vocabulary=int(getattr(config, "vocab_size", 0) or 0),
        positions=_longest(module, config),
        patch=patch if isinstance(patch, int) else 0,
    )


def _longest(module: nn.Module, config: Any) -> int:
    """Most positions of a text, 0 if the network has no table of positions."""
    for name, parameter in module.named_parameters():
        if "position" in name or name.endswith("wpe.weight"):
            offset = int(getattr(config, "pad_token_id", 0) or 0) + 1  # RoBERTa counts from after the padding id
            return parameter.shape[0] - (offset if "roberta" in str(config.model_type) else 0)
    return 0


def _placeholders() -> Any:
    """A context, of this thread only, in which uninitialised tensors (the weights) take no memory.

    Everything that is computed (position ids, rotary tables) is computed as usual; building on the meta
    device would lose it.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    large = (torch.ones, torch.zeros, torch.full, torch.eye, torch.rand, torch.randn, torch.arange)

    class _Placeholders(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func is torch.empty:
                return func(*args, **{**kwargs, "device": "meta"})
            if func in large and func(*args, **{**kwargs, "device": "meta"}).numel() > MAX_BUFFER:
                raise ValueError("a table would take gigabytes")
            return func(*args, **kwargs)

    return _Placeholders()


def _renamings(module: nn.Module) -> list[Any]:
    """Transformers' own table of older names of this architecture's weights, fresh (entries hold state)."""
    from transformers import conversion_mapping, core_model_loading

    entries = conversion_mapping.get_model_conversion_mapping(module)
    return [entry for entry in entries if not isinstance(entry, core_model_loading.WeightConverter)]
