"""What the panels show: plain frozen values, and the few pure functions about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.methods.spec import Param, Value

Quality = Literal["exact", "estimate", "stale"]
JobState = Literal["waiting", "running", "paused", "done", "failed", "cancelled"]
Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodChoice:
    """A merge method as the menu lists it.

    Attributes:
        id: Name in signals.
        title: Name as the field writes it ("TIES").
        family: Heading in the menu.
        summary: One sentence.
        help: Markdown for the method panel.
        coefficient_help: What the faders mean.
        reason: Why it cannot be chosen now; "" when it can.
    """

    id: str
    title: str
    family: str = ""
    summary: str = ""
    help: str = ""
    coefficient_help: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceState:
    """The recipe as one sentence.

    Attributes:
        base: Name of the base, "" when there is none.
        experts: Names of the experts in row order.
        heard: How many of them mute and solo let through.
        methods: All methods, in menu order.
        method: Id of the chosen one.
        params: Parameters of the chosen one, in panel order.
        values: Their values by name.
    """

    base: str = ""
    experts: tuple[str, ...] = ()
    heard: int = 0
    methods: tuple[MethodChoice, ...] = ()
    method: str = ""
    params: tuple[Param, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)

    @property
    def chosen(self) -> MethodChoice | None:
        """The chosen method."""
        return next((m for m in self.methods if m.id == self.method), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A finding as panels show it: a word for the icon, what, and what to do."""

    severity: Severity | Literal["ok"]
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertFacts:
    """What the inspector says about one expert within the selection; None means not known (yet).

    Attributes:
        index: Row, for colour and letter.
        name: The expert's name.
        low: Smallest coefficient in the selection.
        high: Largest coefficient in the selection.
        norm: ‖τ‖ over the selection.
        share: Part of the squared change that is this expert's, 1 for all.
        cosine: Cosine of its task vector with the merged change.
        kept: Share of weights the method keeps.
        is_muted: Whether it is kept out of the mix.
    """

    index: int
    name: str
    low: float
    high: float
    norm: float | None = None
    share: float | None = None
    cosine: float | None = None
    kept: float | None = None
    is_muted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectorState:
    """The selected cells.

    Attributes:
        title: "chat · layers 3–6"; "" when nothing is selected.
        tensors: Number of tensors.
        weights: Number of weights.
        change: ‖Δ‖ as a share of the base's norm.
        cancelled: Share of the experts' changes that cancel out.
        experts: One entry for each expert selected.
        quality: Whether the numbers are exact, estimated or old.
        notes: Findings about the experts selected.
        scores: (task, text) pairs of quick eval.
        overrides: How many finer coefficients lie inside the selection.
        names: Names of some of the tensors.
    """

    title: str = ""
    tensors: int = 0
    weights: int = 0
    change: float | None = None
    cancelled: float | None = None
    experts: tuple[ExpertFacts, ...] = ()
    quality: Quality = "exact"
    notes: tuple[Note, ...] = ()
    scores: tuple[tuple[str, str], ...] = ()
    overrides: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A score with its 95 % interval and the number of rows behind it.

    Attributes:
        value: From 0 to 1 where the unit is "%", else as it is.
        low: Lower end of the interval.
        high: Upper end.
        count: Rows.
        metric: What is measured, as the user sees it.
        unit: "%", "" or a unit to print.
        places: Digits after the point where the unit is not "%".
        is_higher_better: Which way is better.
    """

    value: float
    low: float
    high: float
    count: int
    metric: str = "Accuracy"
    unit: str = "%"
    places: int = 1
    is_higher_better: bool = True

    @property
    def margin(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def verdict(mix: Reading | None, base: Reading | None) -> int:
    """Whether the mix is better (1) or worse (-1) than the base beyond chance; 0 when nobody can tell.

    The 95 % interval of the difference is Newcombe's square-and-add of the two score intervals
    (Statistics in Medicine 17, 1998, method 10); rows are treated as independent, which is cautious.
    """
    if mix is None or base is None:
        return 0
    gap = mix.value - base.value
    below = ((mix.value - mix.low) ** 2 + (base.high - base.value) ** 2) ** 0.5
    above = ((mix.high - mix.value) ** 2 + (base.value - base.low) ** 2) ** 0.5
    way = 1 if gap - below > 0 else -1 if gap + above < 0 else 0
    return way if mix.is_higher_better else -way


ScoreQuality = Literal["exact", "estimate", "stale", "waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """One task of the quick-eval table.

    Attributes:
        task: Its name.
        base: Score of the base.
        expert: Score of the task's own expert.
        expert_name: Name of that expert, "" when none belongs to the task.
        expert_index: Row of that expert, -1 when none.
        mix: Score of the current mix.
        is_stale: Whether `mix` belongs to an older recipe.
        is_running: Whether it is being evaluated.
        problem: Why it cannot be evaluated, "" when it can.
        quality: What kind of number `mix` is: measured on this recipe, estimated, estimated from too far away, or
            lacking the effect of a fader that is not prepared yet.
        error: How far such estimates were off lately, in the score's own unit; None if it is no estimate.
        why: What makes it so, in a sentence.
    """

    task: str
    base: Reading | None = None
    expert: Reading | None = None
    expert_name: str = ""
    expert_index: int = -1
    mix: Reading | None = None
    is_stale: bool = False
    is_running: bool = False
    problem: str = ""
    quality: ScoreQuality = "exact"
    error: float | None = None
    why: str = ""

    @property
    def is_old(self) -> bool:
        """Whether the mix's number is not about the recipe as it is."""
        return self.is_stale or self.quality in ("stale", "waiting")

    @property
    def normalised(self) -> float | None:
        """The mix relative to the task's own expert, 1 if equally good; upside down where lower is better."""
        if self.mix is None or self.expert is None:
            return None
        over, under = (self.mix, self.expert) if self.mix.is_higher_better else (self.expert, self.mix)
        return over.value / under.value if under.value > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresState:
    """The quick-eval table.

    Attributes:
        rows: One for each task.
        is_auto: Whether evaluation starts by itself.
        is_running: Whether one runs now.
        reason: Why Evaluate is disabled, "" when it is not.
        note: One line below the table ("validation rows, 0.8 s ago").
        live: One line about the live preview, "" for none.
        live_tip: The same in full.
    """

    rows: tuple[TaskScore, ...] = ()
    is_auto: bool = True
    is_running: bool = False
    reason: str = ""
    note: str = ""
    live: str = ""
    live_tip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One job of the jobs panel.

    Attributes:
        number: Handle in signals.
        title: A sentence ("Exporting my-merge").
        state: How it stands.
        done: Work done, in `unit`.
        total: Work to do, 0 while unknown.
        unit: "bytes" or a plural noun ("rows", "tensors").
        stage: What it does right now ("Writing model-00002").
        remaining_s: Estimated seconds left, None while unknown.
        elapsed_s: Seconds so far, pauses excluded.
        can_pause: Whether it can be held.
        can_retry: Whether a failed or cancelled one can be started again.
        message: Result or problem in a sentence.
        hint: What to do about the problem.
        log: Lines for the details.
        actions: (id, label) buttons of a finished job ("open_folder", "Open folder").
    """

    number: int
    title: str
    state: JobState = "waiting"
    done: int = 0
    total: int = 0
    unit: str = "bytes"
    stage: str = ""
    remaining_s: float | None = None
    elapsed_s: float = 0.0
    can_pause: bool = True
    can_retry: bool = False
    message: str = ""
    hint: str = ""
    log: tuple[str, ...] = ()
    actions: tuple[tuple[str, str], ...] = ()

    @property
    def fraction(self) -> float | None:
        """Share of the work done, None while unknown."""
        return min(1.0, self.done / self.total) if self.total > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One state in the history.

    Attributes:
        text: What led to it ("Set chat 3-6 to 0.71").
        score: Average quick-eval score there, 0 to 1, None when unknown.
        is_saved: Whether the project file holds this state.
    """

    text: str
    score: float | None = None
    is_saved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRow:
    """A pinned recipe.

    Attributes:
        name: Its name.
        detail: One line below it ("code, chat on qwen").
        score: Average quick-eval score, None when unknown.
        is_current: Whether the desk shows exactly this recipe.
    """

    name: str
    detail: str = ""
    score: float | None = None
    is_current: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryState:
    """Undo steps (oldest first, the first is the start) and pins."""

    steps: tuple[Step, ...] = ()
    current: int = 0
    pins: tuple[PinRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportForm:
    """What the user chose in the export panel.

    Attributes:
        path: Target folder.
        format: Id of the format.
        dtype: Output dtype ("BF16"), "" for as the base.
        shard_gb: Largest shard in GB, 0 for a single file.
        sidecars: Copy config and tokenizer data of the base.
        card: Write a model card.
        verify: Reopen and compare sampled tensors.
        device: Where to compute.
    """

    path: str = ""
    format: str = "safetensors"
    dtype: str = ""
    shard_gb: float = 5.0
    sidecars: bool = True
    card: bool = True
    verify: bool = True
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportState:
    """What the export panel says about the form.

    Attributes:
        form: The form's values.
        formats: (id, label) pairs.
        dtypes: (id, label) pairs; the first is usually ("", "as base: bf16").
        devices: (id, label) pairs.
        notes: The checks, "ok" ones included.
        bytes_out: Size of the result, None while unknown.
        free_bytes: Free space at the target, None while unknown.
        peak_bytes: Forecast of memory, None while unknown.
        forecast_s: Forecast of time, None while unknown.
        command: The same export as a command line.
        reason: Why Export is disabled; "" when it is not.
        exists: Whether something is at the target already.
        job: The export that runs or has just ended, or None.
    """

    form: ExportForm = field(default_factory=ExportForm)
    formats: tuple[tuple[str, str], ...] = (("safetensors", "Model folder (safetensors)"),)
    dtypes: tuple[tuple[str, str], ...] = (("", "as the base"),)
    devices: tuple[tuple[str, str], ...] = (("cpu", "CPU"),)
    notes: tuple[Note, ...] = ()
    bytes_out: int | None = None
    free_bytes: int | None = None
    peak_bytes: int | None = None
    forecast_s: float | None = None
    command: str = ""
    reason: str = ""
    exists: bool = False
    job: JobRow | None = None
