"""The pages of the task wizard: each shows a part of the state and reports what the user changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QFormLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from widgets.common.pieces import CalmComboBox, CalmSpinBox, column, dimmed, heading, labelled, push, row
from widgets.common.text import plain, plain_lines, tip
from widgets.dialogs.task_wizard_state import TaskWizardState

_POOLS = (("mean", "Mean of all tokens"), ("cls", "First token"))
_FEW = 4
_DATA = "Data (*.csv *.tsv *.jsonl *.ndjson *.jsonl.gz *.parquet *.npz *.safetensors)"


class Page(QWidget):
    """One step.

    Signals:
        changed: Name of a field of the state, and its new value.
    """

    changed = Signal(str, object)

    def __init__(self, title: str, about: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = TaskWizardState()
        self._form = QFormLayout()
        self._form.setHorizontalSpacing(14)
        self._form.setVerticalSpacing(10)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._body = column(heading(title, larger=1.15), dimmed(about), 4, self._form, spacing=8)
        self.setLayout(self._body)

    def set_state(self, state: TaskWizardState) -> None:
        """Show other values; reports nothing."""
        self.state = state
        blockers = [QSignalBlocker(w) for w in self.findChildren(QWidget) if isinstance(w, CalmComboBox | CalmSpinBox)]
        self._fill()
        for blocker in blockers:
            blocker.unblock()

    def _fill(self) -> None:
        """Bring the widgets up to date."""

    def _report(self, name: str, value: object) -> None:
        if getattr(self.state, name, None) != value:
            self.changed.emit(name, value)

    def _chosen(self, name: str, path: str) -> None:
        if path:
            self._report(name, path)

    def _combo(self, name: str, title: str) -> CalmComboBox:
        combo = CalmComboBox()
        combo.setObjectName(f"task-{name}")
        combo.setMinimumContentsLength(12)
        combo.currentIndexChanged.connect(lambda: self._report(name, combo.currentData()))
        self._form.addRow(labelled(title, combo), combo)
        return combo

    def _spin(self, name: str, title: str, low: int, high: int, suffix: str) -> CalmSpinBox:
        spin = CalmSpinBox()
        spin.setObjectName(f"task-{name}")
        spin.setRange(low, high)
        spin.setSuffix(suffix)
        spin.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        spin.valueChanged.connect(lambda value: self._report(name, value))
        self._form.addRow(labelled(title, spin), spin)
        return spin

    def _line(self, name: str, title: str, browse: Callable[[], str] | None = None) -> QLineEdit:
        line = QLineEdit()
        line.setObjectName(f"task-{name}")
        line.textEdited.connect(lambda text: self._report(name, text))
        if browse is None:
            self._form.addRow(labelled(title, line), line)
            return line
        button = push("Choose…", name=f"task-{name}-choose")
        button.setAccessibleName(f"Choose: {title.replace('&', '')}")
        button.clicked.connect(lambda: self._chosen(name, browse()))
        self._form.addRow(labelled(title, line), row(line, button))
        return line

    def _show_row(self, field: QWidget, visible: bool) -> None:
        at = next(i for i in range(self._form.rowCount()) if _holds(self._form, i, field))
        self._form.setRowVisible(at, visible)

    def _folder(self, what: str) -> str:
        return QFileDialog.getExistingDirectory(self, what, self.state.model or self.state.path)


def _holds(form: QFormLayout, at: int, field: QWidget) -> bool:
    item = form.itemAt(at, QFormLayout.ItemRole.FieldRole)
    if item is None:
        return False
    inner = item.layout()
    return item.widget() is field or (inner is not None and inner.indexOf(field) >= 0)


def _write(line: QLineEdit, text: str) -> None:
    if line.text() != text and not (line.hasFocus() and line.isModified()):
        line.setText(text)


class DataPage(Page):
    """The file, and its first ten rows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Which data?", "CSV, JSON lines, Parquet, a folder with one folder of images for each class, "
                         "or arrays (.npz, .safetensors).", parent)  # fmt: skip
        self._path = self._line("path", "&File", self._file)
        folder = push("Choose a folder of images…", name="task-folder")
        folder.clicked.connect(lambda: self._chosen("path", self._folder("Folder of images")))
        self._form.addRow("", row(folder, None))
        self._facts = QLabel()
        self._facts.setObjectName("task-facts")
        self._facts.setTextFormat(Qt.TextFormat.PlainText)
        self._facts.setWordWrap(True)
        self._table = QTableWidget()
        self._table.setObjectName("task-preview")
        self._table.setAccessibleName("First ten rows")
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.setTabKeyNavigation(False)
        self._table.setCornerButtonEnabled(False)
        self._table.setWordWrap(False)
        self._table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self._table.setShowGrid(False)
        self._table.setAlternatingRowColors(False)
        self._table.horizontalHeader().setHighlightSections(False)
        self._table.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self._table.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        self._hint = dimmed("The first ten rows and what was understood of them will stand here.")
        self._body.addWidget(self._facts)
        self._body.addWidget(self._table, 1)
        self._body.addWidget(self._hint)
        self._body.addStretch(0)

    def _file(self) -> str:
        return QFileDialog.getOpenFileName(self, "Data of the task", self.state.path, _DATA)[0]

    def _fill(self) -> None:
        state = self.state
        _write(self._path, state.path)
        self._facts.setText(plain_lines("\n".join(state.facts)))
        self._facts.setVisible(bool(state.facts))
        self._table.setVisible(bool(state.preview))
        self._hint.setVisible(not state.preview)
        if (self._table.property("shown") or None) != (state.columns, state.preview):
            self._show_rows()
            self._table.setProperty("shown", (state.columns, state.preview))

    def _show_rows(self) -> None:
        columns, preview = self.state.columns, self.state.preview
        self._table.clear()
        self._table.setColumnCount(len(columns))
        self._table.setRowCount(len(preview))
        self._table.setHorizontalHeaderLabels([plain(c, 40) for c in columns])
        for at, cells in enumerate(preview):
            for column_at, cell in enumerate(cells):
                item = QTableWidgetItem(plain(cell, 200))
                item.setToolTip(tip(plain(cell, 600)))
                self._table.setItem(at, column_at, item)
        self._table.resizeColumnsToContents()
        widest = self.fontMetrics().averageCharWidth() * 56
        header, last = self._table.horizontalHeader(), len(columns) - 1
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        for at in range(len(columns)):
            self._table.setColumnWidth(at, min(self._table.columnWidth(at) + 12, widest))
        if 0 <= last < _FEW:  # else one scrolls, and the last is as wide as its texts
            header.setSectionResizeMode(last, QHeaderView.ResizeMode.Stretch)


class InputPage(Page):
    """What is asked, which columns, which tokenizer or image settings."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("What goes into the model?", "The tokenizer or the image settings are those of the model "
                         "folder; nothing in it is run.", parent)  # fmt: skip
        self._family = self._combo("family", "&Task")
        self._columns = {n: self._combo(n, n) for n in ("text", "second", "options", "label", "split")}
        self._model = self._line("model", "&Model folder", lambda: self._folder("Model folder"))
        self._tokens = self._spin("max_tokens", "&Longest text", 4, 4096, " tokens")
        self._size = self._spin("size", "&Image edge", 0, 4096, " px")
        self._size.setSpecialValueText("As the model says")
        self._pool = self._combo("pool", "&Pooling")
        self._rows = self._spin("rows", "At &most", 2, 100_000, " rows a split")
        self._tried = dimmed()
        self._tried.setObjectName("task-tried")
        self._form.addRow("", self._tried)
        self._body.addStretch(1)

    def _fill(self) -> None:
        state = self.state
        self._family.set_choices(state.families, state.family)
        shown = {field.name: field for field in state.fields}
        choices = tuple((c, plain(c, 60)) for c in state.column_choices)
        for name, combo in self._columns.items():
            field = shown.get(name)
            self._show_row(combo, field is not None and not state.is_images)
            if field is None:
                continue
            label = self._form.labelForField(combo)
            if isinstance(label, QLabel):
                label.setText(field.title)
            combo.setAccessibleName(field.title)
            own = choices if field.value in state.column_choices else ((field.value, plain(field.value, 60)), *choices)
            combo.set_choices((("", "None"), *choices) if field.is_optional else own, field.value)
        self._show_row(self._family, not state.is_images)
        self._show_row(self._tokens, not state.is_images)
        self._show_row(self._size, state.is_images)
        self._show_row(self._pool, state.family in ("class", "value", "pair", "retrieve"))
        _write(self._model, state.model)
        self._pool.set_choices(_POOLS, state.pool)
        for spin, value in ((self._tokens, state.max_tokens), (self._size, state.size), (self._rows, state.rows)):
            if spin.value() != value and not spin.hasFocus():
                spin.setValue(value)
        self._tried.setText(plain_lines("\n".join(state.tried)))


class HeadPage(Page):
    """How the model's state becomes an answer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Which head?", "The head turns the encoder's state into an answer. It stays as it is while "
                         "the models are mixed, except where it lies in the checkpoint.", parent)  # fmt: skip
        self._head = self._combo("head", "&Head")
        self._template = self._line("template", "&Phrase")
        self._template.setToolTip("What the text tower reads for each label; {} stands for the label's name.")
        self._phrases = dimmed()
        self._form.addRow("", self._phrases)
        self._file = self._line("head_file", "F&ile", self._choose)
        self._body.addStretch(1)

    def _choose(self) -> str:
        return QFileDialog.getOpenFileName(self, "Frozen head", self.state.model, "Heads (*.safetensors)")[0]

    def _fill(self) -> None:
        state = self.state
        self._head.set_choices(state.heads, state.head)
        self._show_row(self._template, state.head == "phrases")
        self._show_row(self._phrases, state.head == "phrases")
        self._phrases.setText(plain(state.phrases, 300))
        is_file = state.head in ("file", "model") and state.family in ("class", "value")
        self._show_row(self._file, is_file)
        label = self._form.labelForField(self._file)
        if isinstance(label, QLabel):
            label.setText("Classifier of (optional)" if state.head == "model" else "F&ile")
        _write(self._template, state.template)
        _write(self._file, state.head_file)


class MetricPage(Page):
    """What is measured."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Which number?", "Every score comes with its 95 % interval and its count.", parent)
        self._metric = self._combo("metric", "&Metric")
        self._about = dimmed()
        self._form.addRow("", self._about)
        self._body.addStretch(1)

    def _fill(self) -> None:
        self._metric.set_choices(self.state.metrics, self.state.metric)
        self._about.setText(plain(self.state.metric_about, 400))


class NamePage(Page):
    """Name, place and summary."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Name and place", "The task file and its data lie side by side; copy both to take the task "
                         "along.", parent)  # fmt: skip
        self._name = self._line("name", "&Name")
        self._expert = self._combo("expert", "Own &expert")
        self._expert.setToolTip("Scores are also shown as a share of what this expert reaches.")
        self._out = self._line("out", "&Save as", self._choose)
        self._summary = QLabel()
        self._summary.setObjectName("task-summary")
        self._summary.setTextFormat(Qt.TextFormat.PlainText)
        self._summary.setWordWrap(True)
        self._body.addSpacing(6)
        self._body.addWidget(self._summary)
        self._body.addStretch(1)

    def _choose(self) -> str:
        start = self.state.out or str(PurePath(self.state.path).with_suffix(".task.json"))
        chosen, _ = QFileDialog.getSaveFileName(self, "Save the task", start, "Tasks (*.task.json)")
        return chosen if not chosen or chosen.endswith(".task.json") else f"{chosen}.task.json"

    def _fill(self) -> None:
        state = self.state
        _write(self._name, state.name)
        _write(self._out, state.out)
        self._expert.set_choices((("", "None"), *state.experts), state.expert)
        self._summary.setText(plain_lines("\n".join(state.summary)))


PAGES = (DataPage, InputPage, HeadPage, MetricPage, NamePage)
"""The pages, in order of `STEPS`."""
