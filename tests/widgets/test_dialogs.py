"""Dialogs: plain text only, safe defaults, everything by keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QPlainTextEdit, QPushButton, QTextBrowser, QWidget
from pytestqt.qtbot import QtBot

from app.actions import ACTIONS
from widgets.common.pieces import breakable
from widgets.common.theme import THEMES, apply_theme
from widgets.dialogs.about import AboutDialog
from widgets.dialogs.close_jobs import CloseJobsDialog
from widgets.dialogs.error_card import ErrorCard
from widgets.dialogs.fuzzy import match, rank
from widgets.dialogs.help_pages import read_pages, search, target_of
from widgets.dialogs.help_viewer import HelpViewer
from widgets.dialogs.palette import CommandPalette, find
from widgets.dialogs.preferences import PreferencesDialog
from widgets.dialogs.replace_export import ReplaceExportDialog
from widgets.dialogs.shortcuts import ShortcutsDialog
from widgets.dialogs.state import ExistingExport, PaletteEntry, PreferencesState, Problem, RecentProject
from widgets.dialogs.welcome import WelcomePage

HELP = Path(__file__).resolve().parents[2] / "resources" / "help"
EVIL = "<b>x</b>\u202egnp.a"
ENTRIES = (
    PaletteEntry(id="new", title="New", menu="File", keys="Ctrl+N", help="Start with an empty desk."),
    PaletteEntry(id="export", title="Export merged model…", menu="File", keys="Ctrl+E", help="Write it."),
    PaletteEntry(id="undo", title="Undo", menu="Edit", reason="Nothing to undo."),
    PaletteEntry(id="eval", title="Evaluate", menu="Mix", help="Score base, experts and the mix now."),
)


def button(widget: QWidget, name: str) -> QPushButton:
    found = widget.findChild(QPushButton, name)
    assert found is not None, name
    return found


def click(qtbot: QtBot, widget: QWidget, name: str) -> None:
    qtbot.mouseClick(button(widget, name), Qt.MouseButton.LeftButton)


def shown(qtbot: QtBot, widget: QWidget) -> None:
    qtbot.addWidget(widget)
    widget.show()
    widget.activateWindow()
    with qtbot.waitActive(widget):
        pass


def focus() -> QWidget:
    found = QApplication.focusWidget()
    assert found is not None
    return found


# Search ------------------------------------------------------------------------------------------------------


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_what_is_in_the_text_is_found(before: str, middle: str, after: str) -> None:
    text = before + middle + after
    if len(text.casefold()) == len(text) and len(middle.casefold()) == len(middle):
        hit = match(middle, text)
        assert hit is not None
        found = [text.casefold()[p] for p in hit.places]
        assert set(found) == set("".join(middle.casefold().split()))


def test_the_best_command_comes_first() -> None:
    titles = [a.title.replace("&", "") for a in ACTIONS]

    def first(query: str) -> str:
        return titles[rank(query, titles)[0][0]]

    assert first("exp") == "Export merged model…"
    assert first("co") == "Copy as command"
    assert first("cop pal") == "Command palette…"
    assert first("model exp") == "Export merged model…"
    assert rank("zzz", titles) == []
    assert [i for i, _ in rank("", titles, recent=[7, 3])][:3] == [7, 3, 0]


def test_words_of_the_help_find_a_command_too() -> None:
    assert [e.id for e, _ in find("score", ENTRIES)] == ["eval"]
    assert [e.id for e, _ in find("ctrl+e", ENTRIES)] == ["export"]


# Palette -----------------------------------------------------------------------------------------------------


def test_palette_by_keyboard_alone(qtbot: QtBot) -> None:
    window, ran = QWidget(), []
    field = QLineEdit(window)
    shown(qtbot, window)
    window.resize(600, 400)
    field.setFocus()
    palette = CommandPalette(window)
    palette.chosen.connect(ran.append)
    palette.open_with(ENTRIES)
    query = palette.findChild(QLineEdit, "palette-query")
    assert QApplication.focusWidget() is query
    qtbot.keyClicks(query, "undo")
    qtbot.keyClick(query, Qt.Key.Key_Return)
    assert ran == []
    assert palette.isVisible(), "a command that cannot run says why instead"
    assert any("Nothing to undo." in label.text() for label in palette.findChildren(QLabel))
    query.selectAll()
    qtbot.keyClicks(query, "e")
    qtbot.keyClick(query, Qt.Key.Key_Down)
    qtbot.keyClick(query, Qt.Key.Key_Return)
    assert ran == ["export"], "Evaluate is the shorter title and comes first, Export second"
    assert not palette.isVisible()
    assert QApplication.focusWidget() is field
    palette.open_with(ENTRIES)
    assert query.text() == ""
    qtbot.keyClick(query, Qt.Key.Key_Return)
    assert ran == ["export", "export"], "used lately comes first"
    palette.open_with(ENTRIES)
    qtbot.keyClick(query, Qt.Key.Key_Escape)
    assert not palette.isVisible()
    assert palette.recent() == ("export",)


# Error card --------------------------------------------------------------------------------------------------


def test_error_card(qtbot: QtBot) -> None:
    card, acted = ErrorCard(), []
    shown(qtbot, card)
    card.actionTriggered.connect(acted.append)
    title, why, hint, details = f"{EVIL} can't be merged", "Shapes differ.", "Trim it.", "at line 1\nand 2"
    acts = (("trim", "Trim & go"), ("skip", "Skip"))
    problem = Problem(title=title, why=why, hint=hint, details=details, actions=acts)
    card.set_state(problem)
    labels = [w for w in card.findChildren(QLabel) if w.isVisible()]
    assert all(w.textFormat() == Qt.TextFormat.PlainText for w in labels)
    assert [w.text() for w in labels] == [
        "<b>x</b>[U+202E]gnp.a can't be merged",
        "Shapes differ.",
        "What next: Trim it.",
    ]
    click(qtbot, card, "error-action-trim")
    assert acted == ["trim"]
    details = card.findChild(QPlainTextEdit)
    assert details is not None
    assert not details.isVisible()
    click(qtbot, card, "error-details")
    card.set_state(Problem(title=problem.title, why="Other.", details=problem.details))
    assert details.isVisible(), "opened details stay open while the problem is the same"
    click(qtbot, card, "error-copy")
    assert QGuiApplication.clipboard().text().endswith("Other.\n\nat line 1\nand 2")
    with qtbot.waitSignal(card.dismissed):
        qtbot.keyClick(card, Qt.Key.Key_Escape)


@given(st.text(alphabet="ab/_. ", max_size=90))
def test_breakable_text_keeps_its_letters(text: str) -> None:
    broken = breakable(text)
    assert broken.replace("\u200b", "") == text
    assert all(len(part) <= 21 for word in broken.split(" ") for part in word.split("\u200b"))


# Start page --------------------------------------------------------------------------------------------------


def test_start_page(qtbot: QtBot) -> None:
    page, seen = WelcomePage(), []
    shown(qtbot, page)
    page.demoRequested.connect(lambda: seen.append("demo"))
    page.recentChosen.connect(seen.append)
    page.filesDropped.connect(seen.append)
    page.set_recent([RecentProject(path="/a/x.mixdown", name=EVIL), RecentProject(path="/b.mixdown", name="b")])
    click(qtbot, page, "welcome-demo")
    click(qtbot, page, "welcome-recent")
    drop = QMimeData()
    drop.setUrls([QUrl.fromLocalFile("/m/base"), QUrl("https://example.org/x"), QUrl.fromLocalFile("/m/a.safetensors")])
    mouse, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    page.dropEvent(QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, drop, mouse, keys))
    assert seen == ["demo", "/a/x.mixdown", ["/m/base", "/m/a.safetensors"]]
    before = page.findChildren(QPushButton, "welcome-recent")
    page.set_recent([RecentProject(path="/a/x.mixdown", name=EVIL), RecentProject(path="/b.mixdown", name="b")])
    assert page.findChildren(QPushButton, "welcome-recent") == before, "the same list makes no new buttons"


# Questions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Escape])
def test_no_key_pressed_in_haste_replaces_or_stops(qtbot: QtBot, key: Qt.Key) -> None:
    closing, replacing = (
        CloseJobsDialog(["Exporting"]),
        ReplaceExportDialog(ExistingExport(path="/m/mix", is_export=True)),
    )
    for dialog in (closing, replacing):
        shown(qtbot, dialog)
        qtbot.keyClick(focus(), key)
        qtbot.keyClick(dialog, key)
    assert closing.answer == "stay"
    assert replacing.answer == "cancel"


def test_close_answers(qtbot: QtBot) -> None:
    for name in ("wait", "stop", "stay"):
        dialog = CloseJobsDialog(["Exporting", "Scoring"])
        shown(qtbot, dialog)
        click(qtbot, dialog, f"close-{name}")
        assert dialog.answer == name
        assert not dialog.isVisible()


def test_what_is_not_an_export_needs_its_name(qtbot: QtBot) -> None:
    dialog = ReplaceExportDialog(ExistingExport(path="/home/ada/Documents", size_bytes=3_000_000), "/home/ada/mix-2")
    shown(qtbot, dialog)
    replacing, typed = button(dialog, "replace-replace"), dialog.findChild(QLineEdit, "replace-name")
    click(qtbot, dialog, "replace-replace")
    assert dialog.answer == "cancel"
    assert dialog.isVisible()
    qtbot.keyClicks(typed, "documents")
    assert not replacing.isEnabled(), "the case counts"
    typed.clear()
    qtbot.keyClicks(typed, "Documents")
    click(qtbot, dialog, "replace-replace")
    assert dialog.answer == "replace"
    assert not dialog.isVisible()
    easy = ReplaceExportDialog(ExistingExport(path="/m/mix", is_export=True), "/m/mix-2")
    shown(qtbot, easy)
    assert button(easy, "replace-replace").isEnabled()
    click(qtbot, easy, "replace-keep")
    assert easy.answer == "keep"


# Preferences, shortcuts, about -------------------------------------------------------------------------------


def test_preferences_report_only_what_the_user_changes(qtbot: QtBot) -> None:
    dialog, seen = PreferencesDialog(PreferencesState(cores=8)), []
    shown(qtbot, dialog)
    dialog.changed.connect(lambda name, value: seen.append((name, value)))
    state = PreferencesState(theme="light", auto_eval=False, eval_rows=500, device="cpu", threads=3, cores=8)
    dialog.set_state(state)
    assert seen == []
    dialog._theme.setCurrentIndex(3)
    dialog._auto.click()
    dialog._device.setCurrentIndex(0)
    qtbot.keyClick(dialog._threads, Qt.Key.Key_Up)
    dialog._rows.setFocus()
    dialog._rows.selectAll()
    qtbot.keyClicks(dialog._rows, "120")
    assert ("eval_rows", 120) not in seen, "not before typing is over"
    qtbot.keyClick(dialog._rows, Qt.Key.Key_Tab)
    assert seen == [("theme", "contrast"), ("auto_eval", True), ("device", "auto"), ("threads", 4), ("eval_rows", 120)]


def test_shortcuts_filter(qtbot: QtBot) -> None:
    dialog = ShortcutsDialog([("File", "&Open…", "Ctrl+O"), ("Edit", "Undo", "Ctrl+Z"), ("View", EVIL, "F6")])
    shown(qtbot, dialog)
    qtbot.keyClicks(dialog.findChild(QLineEdit), "ctrl open")
    assert [dialog.table.isRowHidden(n) for n in range(3)] == [False, True, True]
    assert dialog.table.item(0, 1).text() == "Open…"
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert dialog.isVisible()
    assert not any(dialog.table.isRowHidden(n) for n in range(3))


def test_about_copies_the_versions(qtbot: QtBot) -> None:
    dialog = AboutDialog("0.1.0", [("Python", "3.11"), ("torch", "2.13")], "Mixdown: <b>licence</b>")
    shown(qtbot, dialog)
    click(qtbot, dialog, "about-copy")
    assert QGuiApplication.clipboard().text() == "Mixdown  0.1.0\nPython   3.11\ntorch    2.13"
    assert [box.toPlainText() for box in dialog.findChildren(QPlainTextEdit)][1] == "Mixdown: <b>licence</b>"


# Help --------------------------------------------------------------------------------------------------------


def test_every_link_of_the_help_leads_to_a_page() -> None:
    pages = read_pages(HELP, {"methods": "# Methods", "shortcuts": "# Keys"})
    assert next(iter(pages)) == "index"
    import re

    for page in pages.values():
        for link in re.findall(r"\]\(([^)]+)\)", page.text):
            target = target_of(link, page.id)
            assert target is None or target[0] in pages, (page.id, link)


def test_help_stays_inside(qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "index.md").write_text("# Start\n\n[more](more/a.md#two) [out](https://example.org/x) <b>html</b>\n")
    (tmp_path / "more" / "a.md").write_text("# A page\n\n[back](../index.md)\n\n## Two\n\nfader fader\n")
    (tmp_path / "leak.md").symlink_to("/etc/passwd")
    viewer, left = HelpViewer(tmp_path, {"methods": "# Methods\n\nfader"}), []
    shown(qtbot, viewer)
    viewer.externalLinkChosen.connect(left.append)
    text = viewer.findChild(QTextBrowser)
    assert text is not None
    assert [p.id for p in viewer.pages()] == ["index", "methods", "more/a"]
    assert "<b>html</b>" in text.toPlainText()
    text.anchorClicked.emit(QUrl("https://example.org/x"))
    assert left == ["https://example.org/x"]
    assert viewer.page() == "index"
    text.anchorClicked.emit(QUrl("more/a.md#two"))
    assert viewer.page() == "more/a"
    assert text.textCursor().block().text() == "Two"
    text.anchorClicked.emit(QUrl("../index.md"))
    qtbot.keyClick(viewer, Qt.Key.Key_Left, Qt.KeyboardModifier.AltModifier)
    assert viewer.page() == "more/a"
    assert not viewer.open_page("../../etc/passwd")
    assert not viewer.open_page("nothing")
    assert viewer.page() == "more/a"


def test_help_search(qtbot: QtBot) -> None:
    viewer = HelpViewer(HELP, {"methods": "# Methods\n\nTIES trims.", "shortcuts": "# Keys"})
    shown(qtbot, viewer)
    box = viewer.findChild(QLineEdit, "help-search")
    qtbot.keyClicks(box, "ties trims")
    assert search("ties trims", {p.id: p for p in viewer.pages()})[0].page.id == "methods"
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert viewer.isVisible(), "Enter in the search does not close the help"
    assert viewer.page() == "methods"
    assert len(viewer.findChild(QTextBrowser).extraSelections()) == 2
    qtbot.keyClick(viewer, Qt.Key.Key_Escape)
    assert box.text() == ""
    assert viewer.isVisible()


@pytest.mark.parametrize("scheme", list(THEMES))
def test_every_severity_is_readable_on_its_card(qtbot: QtBot, scheme: str) -> None:
    from widgets.common.pieces import SEVERITIES
    from widgets.desk.inks import luminance

    app = QApplication.instance()
    assert isinstance(app, QApplication)
    try:
        colours = apply_theme(app, scheme)
        for _, _, tone in SEVERITIES.values():
            for ground in (colours.panel, colours.raised, colours.window):
                pair = sorted(luminance(c) for c in map(_colour, (getattr(colours, tone), ground)))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (scheme, tone, ground)
    finally:
        apply_theme(app, "dark")


def _colour(name: str) -> object:
    from PySide6.QtGui import QColor

    return QColor(name)
