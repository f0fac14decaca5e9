"""What a merge does with every tensor, decided from headers before any weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np

from engine.errors import DtypeMismatch, Mismatch, MissingKeys, NotEnoughExperts, OutOfRange, ShapeMismatch
from engine.files.checks import check, stored_twice
from engine.files.model import FLOAT_DTYPES, ITEM_BYTES, Finding, Layout, TensorInfo
from engine.merge.inputs import Inputs
from engine.merge.models import BASE, Models, check_count, complete_params, hear, placed_params, tensor_coefficients
from engine.merge.stacking import check_stacked
from engine.methods import Method, find
from engine.methods.roles import Dropped, dropped
from engine.methods.spec import Scope
from engine.recipe.places import at
from engine.recipe.recipe import Recipe, Value

Action = Literal["merge", "copy"]


@dataclass(frozen=True, slots=True)
class TensorJob:
    """One tensor of the merged model and how it comes about.

    Attributes:
        name: Key in the state dict.
        shape: Dimensions.
        dtype: What it is stored as in the model that leads it (the base, or the copied expert).
        out_dtype: What it is written as.
        action: "merge" computes it, "copy" takes the bytes of `source` (converted if the dtypes differ).
        source: For "copy": an index into the canonical experts, or `BASE`.
        weights: Coefficient of every expert in `used`; empty for tensors that are not floating point.
        used: Experts that the kernel sees, as canonical indices.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    out_dtype: str
    action: Action
    source: int = BASE
    weights: tuple[float, ...] = ()
    used: tuple[int, ...] = ()

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes_out(self) -> int:
        """Bytes of the merged tensor."""
        return self.numel * ITEM_BYTES[self.out_dtype]

    @property
    def is_float(self) -> bool:
        """Whether it takes part in merging and its statistics."""
        return self.dtype in FLOAT_DTYPES


@dataclass(frozen=True)
class Plan:
    """Everything that `engine.merge.run` needs; equal plans give equal bytes.

    Attributes:
        recipe: What was asked for.
        method: The merge method.
        params: All its parameters.
        models: What is read, in canonical order.
        jobs: One for each tensor of the merged model, in the order of the base's file(s).
        layout: Layers and kinds of the tensors.
        findings: What the header checks noticed; never of severity "error".
    """

    recipe: Recipe
    method: Method
    params: Mapping[str, Value]
    models: Models
    jobs: tuple[TensorJob, ...]
    layout: Layout
    findings: tuple[Finding, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Content keys of the experts, in canonical order."""
        return self.models.keys

    @cached_property
    def bytes_in(self) -> int:
        """Bytes that one pass over the models reads."""
        return sum(self.job_bytes_in(job) for job in self.jobs)

    @cached_property
    def bytes_out(self) -> int:
        """Bytes of all merged tensors."""
        return sum(job.bytes_out for job in self.jobs)

    @cached_property
    def twins(self) -> Mapping[str, str]:
        """Tensors that are the same weights as another one: name to that other one's."""
        return stored_twice(self.models.base) if self.models.base is not None else {}

    @cached_property
    def needs_base_values(self) -> bool:
        """Whether kernels or statistics look at the base's weights even where experts are complete."""
        method = self.method
        statistics = method.survey is not None or method.measure is not None
        return method.space == "delta" or "base" in method.wants or statistics

    @cached_property
    def dropped(self) -> Dropped:
        """Roles whose weights keep the base's values; only methods of task vectors have them."""
        return dropped(self.params)

    def scope(self, job: TensorJob) -> Scope:
        """What of a tensor has to be computed at once."""
        if job.action == "copy":
            return "element"
        return "tensor" if self.is_calibrated(job) else self.method.scope

    def is_calibrated(self, job: TensorJob) -> bool:
        """Whether post-processing follows; it needs a matrix."""
        return self.params.get("post", "none") != "none" and len(job.shape) == 2

    def bytes_at_once(self, job: TensorJob) -> int:
        """Memory that a tensor takes which is merged whole: all models, the result, and what the method makes."""
        return 4 * job.numel * (len(job.used) + 3) if self.scope(job) == "tensor" else 0

    @cached_property
    def whole_bytes(self) -> int:
        """Memory that whole tensors may take together: two as large as the largest; 0 if all are merged in chunks."""
        return 2 * max(map(self.bytes_at_once, self.jobs), default=0)

    def reads(self, job: TensorJob) -> tuple[int, ...]:
        """The models from which a job reads, `BASE` first."""
        if job.action == "copy":
            return (job.source,)
        present = tuple(t for t in job.used if job.name in self.models.experts[t].tensors)
        wants_base = self.models.base is not None and (self.needs_base_values or len(present) < len(job.used))
        return (BASE, *present) if wants_base else present

    def job_bytes_in(self, job: TensorJob) -> int:
        """Bytes that a job reads."""
        return sum(info.size_bytes for i in self.reads(job) if (info := self.models.info(i, job.name)) is not None)


def make_plan(recipe: Recipe, inputs: Inputs) -> Plan:
    """Decide for every tensor whether it is merged or copied, from what, and with which coefficients.

    Silent experts (every coefficient 0) are left out. A tensor that no heard expert has is the base's.

    Raises:
        BadRecipe: for an unknown method or a value out of range.
        NotEnoughExperts: if there are too few or too many experts.
        Mismatch: if the models do not fit; shapes are never broadcast.
    """
    method = find(recipe.method)
    if recipe.dtype and recipe.dtype not in FLOAT_DTYPES:
        raise OutOfRange(f"Weights cannot be stored as {recipe.dtype}.", hint=f"Use {', '.join(sorted(FLOAT_DTYPES))}.")
    if inputs.base is None and method.needs_base:
        stacked = inputs.stacked is not None
        raise Mismatch(f"{method.title} needs a base{' in every slice of the stack' * stacked}.",
                       hint="Choose another method, or write the base into the slices of the mergekit YAML." if stacked
                       else "Drop the model that the experts were fine-tuned from.")  # fmt: skip
    params = placed_params(complete_params(recipe, method, inputs.names), method, inputs.layout)
    names = _names(inputs)
    values = tensor_coefficients(recipe, inputs, method, names)
    if inputs.stacked is not None:
        return _stacked_plan(recipe, inputs, method, params, names, values)
    models, coefficients = hear(inputs, method, params, values)
    findings = _findings(models, inputs)
    planner = _Planner(method, params, models, recipe.dtype)
    columns = coefficients.T.tolist()
    jobs = tuple(planner.job(name, tuple(weights)) for name, weights in zip(names, columns, strict=True))
    return Plan(recipe, method, params, models, jobs, inputs.layout, findings)


def _names(inputs: Inputs) -> list[str]:
    """Names of the merged model's tensors in file order; without a base those of all experts, by name."""
    if inputs.base is None:
        return sorted({name for expert in inputs.experts for name in expert.tensors})
    infos = sorted(inputs.base.tensors.values(), key=lambda info: (info.file.name, info.start, info.name))
    return [info.name for info in infos]


_ERRORS = {"shape": ShapeMismatch, "dtype": DtypeMismatch, "keys": MissingKeys, "missing": MissingKeys}


def _stacked_plan(
    recipe: Recipe, inputs: Inputs, method: Method, params: Mapping[str, Value], names: list[str], values: np.ndarray
) -> Plan:
    """The plan of a stack: in each tensor only the experts of its slice take part.

    Args:
        recipe: With a stack.
        inputs: Restacked.
        method: The merge method.
        params: All its parameters.
        names: Of the N tensors.
        values: (T, N) coefficients in the recipe's order.
    """
    members = inputs.stacked.members if inputs.stacked is not None else {}
    part = np.array([[row in members[name] for name in names] for row in range(len(inputs.names))])
    models, coefficients = hear(inputs, method, params, np.where(part, values, 0.0))
    rows = {inputs.names.index(name): t for t, name in enumerate(models.names)}
    everyone = tuple(range(len(models.names)))
    measured = method.survey is not None and inputs.base is not None  # all tensors, each with all experts
    planners: dict[tuple[int, ...], _Planner] = {}
    jobs = []
    for column, name in enumerate(names):
        heard = tuple(sorted(rows[row] for row in members[name] if row in rows))
        if not heard and inputs.base is None:
            raise NotEnoughExperts("All sources of this tensor are silent.", where=name, hint="Raise one of them.")
        if members[name]:
            check_count(method, len(heard), based=inputs.base is not None, where=name)
        used = everyone if measured else heard
        if used not in planners:
            planners[used] = _Planner(method, params, models.only(used), recipe.dtype, stacked=True)
        job = planners[used].job(name, tuple(coefficients[list(used), column].tolist()))
        source = BASE if job.source == BASE else used[job.source]
        jobs.append(replace(job, source=source, used=tuple(used[t] for t in job.used)))
    return Plan(recipe, method, params, models, tuple(jobs), inputs.layout, _findings(models, inputs))


def _findings(models: Models, inputs: Inputs) -> tuple[Finding, ...]:
    """What the header checks say about every heard expert, in a stack where it takes part; an error is raised."""
    if models.base is None:
        return ()
    found: list[Finding] = []
    for name, expert in zip(models.names, models.experts, strict=True):
        if inputs.stacked is None:
            checked = check(models.base, expert)
        else:
            checked = check_stacked(models.base, expert, inputs.names.index(name), inputs.stacked.members)
        for finding in checked:
            if finding.severity == "error":
                kind = _ERRORS.get(finding.code, Mismatch)
                where = f"{name}, {finding.tensors[0]}" if finding.tensors else name
                raise kind(finding.message, where=where, hint=finding.hint)
            found.append(finding)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Planner:
    """Makes the job of one tensor."""

    method: Method
    params: Mapping[str, Value]
    models: Models
    dtype: str
    stacked: bool = False

    def job(self, name: str, weights: tuple[float, ...]) -> TensorJob:
        """Decide about one tensor, given the coefficients of all canonical experts."""
        infos = [expert.tensors.get(name) for expert in self.models.experts]
        lead = self._lead(name, infos)
        if not lead.is_float:
            return TensorJob(name, lead.shape, lead.dtype, lead.dtype, "copy", self._owner(infos))
        self._check(lead, infos)
        out = self.dtype or self._default_dtype(lead, infos)
        source = self._copied(name, weights, infos)
        if source is not None:
            copied = lead if source == BASE else infos[source] or lead
            everyone = tuple(range(len(infos)))
            return TensorJob(name, lead.shape, copied.dtype, out, "copy", source, weights, everyone)
        used = self._used(weights, infos)
        return TensorJob(name, lead.shape, lead.dtype, out, "merge", BASE, tuple(weights[t] for t in used), used)

    def _lead(self, name: str, infos: Sequence[TensorInfo | None]) -> TensorInfo:
        """The tensor that says what shape and type is expected."""
        if self.models.base is not None:
            return self.models.base.tensors[name]
        absent = [self.models.names[t] for t, info in enumerate(infos) if info is None]
        present = [info for info in infos if info is not None]
        if absent or not present:
            raise MissingKeys(
                f"Not all experts have this tensor; it is absent in {', '.join(absent[:3])}.",
                where=name,
                hint="Without a base all experts must have the same tensors. Add the base.",
            )
        return present[0]

    def _owner(self, infos: Sequence[TensorInfo | None]) -> int:
        """From where a tensor that is not merged is copied."""
        return BASE if self.models.base is not None else next(t for t, info in enumerate(infos) if info is not None)

    def _check(self, lead: TensorInfo, infos: Sequence[TensorInfo | None]) -> None:
        for expert, info in zip(self.models.names, infos, strict=True):
            if info is None:
                continue
            if info.shape != lead.shape:
                raise ShapeMismatch(
                    f"{expert} has shape {list(info.shape)} where {list(lead.shape)} is expected.",
                    where=lead.name,
                    hint="These models are of different architecture or vocabulary; use experts of this base.",
                )
            if not info.is_float:
                raise DtypeMismatch(
                    f"{expert} stores {info.dtype} where {lead.dtype} is expected.",
                    where=lead.name,
                    hint="Quantised models cannot be merged; use the original weights.",
                )

    def _default_dtype(self, lead: TensorInfo, infos: Sequence[TensorInfo | None]) -> str:
        """As the base; without one as the experts, or the type that holds all of theirs."""
        if self.models.base is not None:
            return lead.dtype
        kinds = {info.dtype for info in infos if info is not None}
        if len(kinds) == 1:
            return lead.dtype
        return "F64" if "F64" in kinds else "F32"

    def _copied(self, name: str, weights: tuple[float, ...], infos: Sequence[TensorInfo | None]) -> int | None:
        """The model whose bytes are the result, if the method's laws say so."""
        based = self.models.base is not None
        if based and not any(info is not None for info in infos):
            return BASE
        source = self.method.shortcut(weights, at(self.params, name))
        if source is None or (source != BASE and dropped(self.params).is_active):
            return BASE if based and not self._used(weights, infos) else None
        if source == BASE and not based:
            if self.stacked and self.method.live != "linear":
                return None  # layers are really scaled by 0, which is how blocks are added that do nothing at first
            raise OutOfRange(
                "All coefficients are 0 and there is no base to keep.", where=name, hint="Raise a coefficient."
            )
        return source if source == BASE or infos[source] is not None else BASE

    def _used(self, weights: tuple[float, ...], infos: Sequence[TensorInfo | None]) -> tuple[int, ...]:
        """Experts that enter: all, but for linear methods only those that change the sum."""
        if self.method.live != "linear":
            return tuple(range(len(infos)))
        delta = self.method.space == "delta"
        return tuple(t for t, w in enumerate(weights) if w != 0 and (infos[t] is not None or not delta))
