"""The application's style sheet, made from a theme's named colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widgets.common.theme import Theme

_ART = (Path(__file__).resolve().parents[2] / "resources" / "icons" / "style").as_posix()


def stylesheet(t: Theme) -> str:
    """Style sheet of everything that the palette alone does not reach."""
    return "\n".join((_frame(t), _docks(t), _controls(t), _fields(t), _labels(t), _bars(t)))


def _frame(t: Theme) -> str:
    """Window, menus, tooltips, status bar."""
    return f"""
    QToolTip {{ color: {t.text}; background: {t.raised}; border: 1px solid {t.line}; padding: 4px; }}
    QMenuBar {{ background: {t.window}; padding: 2px 4px; }}
    QMenuBar::item {{ padding: 4px 9px; border-radius: 4px; background: transparent; }}
    QMenuBar::item:selected {{ background: {t.hover}; }}
    QMenu {{ background: {t.raised}; border: 1px solid {t.line}; padding: 4px; }}
    QMenu::item {{ padding: 5px 24px 5px 12px; border-radius: 4px; }}
    QMenu::item:selected {{ background: {t.accent}; color: {t.on_accent}; }}
    QMenu::item:disabled {{ color: {t.disabled}; background: transparent; }}
    QMenu::separator {{ height: 1px; background: {t.line}; margin: 4px 8px; }}
    QStatusBar {{ background: {t.window}; color: {t.dim}; border-top: 1px solid {t.line}; }}
    QStatusBar::item {{ border: none; }}
    QMainWindow::separator {{ background: {t.line}; width: 1px; height: 1px; }}
    QMainWindow::separator:hover {{ background: {t.accent}; }}
    QToolBar {{ background: {t.window}; border: none; border-bottom: 1px solid {t.line};
        padding: 4px 8px; spacing: 6px; }}
    QToolBar::separator {{ background: {t.line}; width: 1px; margin: 4px 4px; }}
    """


def _docks(t: Theme) -> str:
    """Docks and their tabs."""
    return f"""
    QDockWidget {{ color: {t.dim}; }}
    QDockWidget::title {{ background: {t.window}; padding: 6px 10px; text-align: left; }}
    QTabBar {{ background: {t.window}; }}
    QTabBar::tab {{ background: {t.window}; color: {t.dim}; padding: 6px 6px; margin: 0 1px; border: none;
                    border-bottom: 2px solid transparent; }}
    QTabBar[tight="true"]::tab {{ padding: 6px 4px; margin: 0; }}
    QTabBar::tab:selected {{ color: {t.text}; border-bottom: 2px solid {t.accent}; }}
    QTabBar::tab:hover:!selected {{ color: {t.text}; background: {t.hover}; }}
    QTabBar::tab:focus {{ color: {t.accent}; }}
    QTabBar::tab:selected:focus {{ background: {t.hover}; }}
    QTabBar QToolButton {{ background: {t.window}; border: 1px solid {t.line}; border-radius: 4px; padding: 0; }}
    QTabBar QToolButton::left-arrow {{ image: url({_ART}/left-{t.name}.svg); width: 12px; height: 12px; }}
    QTabBar QToolButton::right-arrow {{ image: url({_ART}/right-{t.name}.svg); width: 12px; height: 12px; }}
    QTabWidget::pane {{ border: none; border-top: 1px solid {t.line}; }}
    """


def _controls(t: Theme) -> str:
    """Buttons and fields."""
    faint = t.disabled if t.name == "contrast" else t.dim  # there dim is nearly as bright as text
    return f"""
    QPushButton, QToolButton {{ background: {t.raised}; color: {t.text}; border: 1px solid {t.line};
                                border-radius: 5px; padding: 4px 11px; }}
    QToolButton {{ padding: 4px 6px; }}
    QToolButton[autoRaise="true"] {{ background: transparent; border-color: transparent; }}
    QPushButton:hover, QToolButton:hover {{ background: {t.hover}; }}
    QPushButton:pressed, QToolButton:pressed {{ background: {t.line}; }}
    QToolButton:checked, QPushButton:checked {{ background: {t.hover}; border-color: {t.accent}; }}
    QPushButton:focus, QToolButton:focus {{ border: 1px solid {t.accent}; }}
    QPushButton:checked:focus {{ border: 2px solid {t.text}; padding: 3px 10px; }}
    QToolButton:checked:focus {{ border: 2px solid {t.text}; padding: 3px 5px; }}
    QPushButton:disabled, QToolButton:disabled {{ color: {t.disabled}; background: transparent; }}
    QPushButton:default, QPushButton[primary="true"], QToolButton[primary="true"] {{
        background: {t.accent}; color: {t.on_accent}; border-color: {t.accent}; }}
    QPushButton:default:focus, QPushButton[primary="true"]:focus, QToolButton[primary="true"]:focus {{
        border: 2px solid {t.text}; padding: 3px 10px; }}
    QPushButton:default:disabled, QPushButton[primary="true"]:disabled, QToolButton[primary="true"]:disabled {{
        background: transparent; color: {t.disabled}; border-color: {t.line}; }}
    QToolButton::menu-indicator {{ image: none; }}
    QLineEdit, QPlainTextEdit, QTextEdit {{ background: {t.panel}; color: {t.text}; border: 1px solid {t.line};
        border-radius: 5px; padding: 3px 6px; selection-background-color: {t.accent};
        selection-color: {t.on_accent}; placeholder-text-color: {faint}; }}
    QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus {{ border-color: {t.accent}; }}
    QLineEdit:disabled {{ color: {t.disabled}; }}
    QGroupBox {{ border: none; margin-top: 18px; font-weight: 600; }}
    QGroupBox::title {{ subcontrol-origin: margin; left: 0; padding: 0; color: {t.dim}; }}
    QProgressBar {{ background: {t.track}; border: none; border-radius: 3px; max-height: 6px; min-height: 6px; }}
    QProgressBar::chunk {{ background: {t.accent}; border-radius: 3px; }}
    """


def _fields(t: Theme) -> str:
    """Combo boxes, spin boxes, check boxes and radio buttons."""
    return f"""
    QComboBox, QAbstractSpinBox {{ background: {t.panel}; color: {t.text}; border: 1px solid {t.line};
        border-radius: 5px; padding: 3px 6px; min-height: 18px; selection-background-color: {t.accent};
        selection-color: {t.on_accent}; }}
    QComboBox {{ padding-left: 8px; padding-right: 20px; }}
    QComboBox:hover, QAbstractSpinBox:hover {{ background: {t.hover}; }}
    QComboBox:focus, QAbstractSpinBox:focus {{ border-color: {t.accent}; }}
    QComboBox:disabled, QAbstractSpinBox:disabled {{ color: {t.disabled}; }}
    QComboBox::drop-down {{ border: none; width: 20px; }}
    QComboBox::down-arrow {{ image: url({_ART}/down-{t.name}.svg); width: 12px; height: 12px; }}
    QComboBox QAbstractItemView {{ background: {t.raised}; border: 1px solid {t.line}; padding: 3px;
        selection-background-color: {t.accent}; selection-color: {t.on_accent}; }}
    QAbstractSpinBox {{ padding-right: 16px; }}
    QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {{ border: none; width: 16px; background: transparent; }}
    QAbstractSpinBox::up-button:hover, QAbstractSpinBox::down-button:hover {{ background: {t.line}; }}
    QAbstractSpinBox::up-arrow {{ image: url({_ART}/up-{t.name}.svg); width: 10px; height: 10px; }}
    QAbstractSpinBox::down-arrow {{ image: url({_ART}/down-{t.name}.svg); width: 10px; height: 10px; }}
    QCheckBox, QRadioButton {{ spacing: 7px; }}
    QCheckBox::indicator, QRadioButton::indicator, QTableView::indicator {{ width: 14px; height: 14px;
        border: 1px solid {t.dim}; background: {t.panel}; }}
    QCheckBox::indicator, QTableView::indicator {{ border-radius: 3px; }}
    QRadioButton::indicator {{ border-radius: 8px; }}
    QCheckBox::indicator:checked, QTableView::indicator:checked {{ background: {t.accent}; border-color: {t.accent};
        image: url({_ART}/check-{t.name}.svg); }}
    QRadioButton::indicator:checked {{ background: {t.accent}; border-color: {t.accent};
        image: url({_ART}/dot-{t.name}.svg); }}
    QCheckBox:focus, QRadioButton:focus {{ color: {t.accent}; }}
    QCheckBox:disabled, QRadioButton:disabled {{ color: {t.disabled}; }}
    """


def _labels(t: Theme) -> str:
    """Roles of labels."""
    return f"""
    QLabel[role="dim"] {{ color: {t.dim}; }}
    QLabel[role="title"] {{ font-size: 15pt; font-weight: 600; }}
    QLabel[role="section"] {{ font-weight: 600; }}
    QLabel[role="small"] {{ color: {t.dim}; font-size: 8.5pt; }}
    QLabel[role="mono"] {{ font-family: monospace; color: {t.dim}; }}
    """


def _bars(t: Theme) -> str:
    """Scroll bars and lists."""
    return f"""
    QScrollBar:vertical {{ background: transparent; width: 11px; margin: 0; }}
    QScrollBar:horizontal {{ background: transparent; height: 11px; margin: 0; }}
    QScrollBar::handle {{ background: {t.line}; border-radius: 4px; margin: 2px; min-height: 24px; min-width: 24px; }}
    QScrollBar::handle:hover {{ background: {t.dim}; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
    QTableWidget::item {{ padding: 0 3px; }}
    QHeaderView::section {{ background: {t.raised}; color: {t.dim}; border: none; padding: 4px 6px; }}
    QListView, QTreeView, QTableView {{ background: {t.panel}; border: none; outline: none; }}
    QTableWidget, QListWidget, QTreeWidget {{ border: 1px solid transparent; }}
    QTableWidget:focus, QListWidget:focus, QTreeWidget:focus {{ border: 1px solid {t.accent}; }}
    QListView::item:selected, QTreeView::item:selected {{ background: {t.hover}; color: {t.text}; }}
    """
