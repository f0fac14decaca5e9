"""One table of everything a user can do: it feeds menus, shortcuts, the command palette and the help."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """One command.

    Attributes:
        id: Name of the handler's method, with a dot for the first underscore ("file.open" -> `file_open`).
        menu: Menu it belongs to.
        title: Text in menu and palette; "&" marks the mnemonic, "…" that it asks something first.
        keys: Shortcuts, the first one is shown.
        help: One sentence for palette, status bar and the shortcuts page.
        when: Name of the condition under which it is enabled ("" always); see `WHEN`.
        checkable: Whether it is a switch.
        local: Whether the key belongs to the desk (handled there) and is only listed here.
    """

    id: str
    menu: str
    title: str
    keys: tuple[str, ...] = ()
    help: str = ""
    when: str = ""
    checkable: bool = False
    local: bool = False


WHEN = {
    "base": "Needs a base. Drop one on the base well.",
    "experts": "Needs at least one expert.",
    "mix": "Needs a base and at least one expert.",
    "tasks": "Needs a quick-eval task. Add one with Mix > Add task.",
    "cells": "Select cells on the desk first.",
    "undo": "Nothing to undo.",
    "redo": "Nothing to redo.",
    "jobs": "No job is running.",
    "pins": "Pin a recipe first.",
}
"""Why an action is disabled, by condition."""

ACTIONS: tuple[Action, ...] = (
    Action("file.new", "File", "&New", ("Ctrl+N",), "Start with an empty desk."),
    Action("file.open", "File", "&Open…", ("Ctrl+O",), "Open checkpoints, model folders or a project."),
    Action("file.open_folder", "File", "Open &folder…", ("Ctrl+Shift+O",), "Open a Hugging Face model folder."),
    Action("file.demo", "File", "Open &demo", (), "Open the demo: a real base and six real fine-tunes."),
    Action("file.save", "File", "&Save", ("Ctrl+S",), "Save the project as a .mixdown file."),
    Action("file.save_as", "File", "Save &as…", ("Ctrl+Shift+S",), "Save the project under another name."),
    Action("file.mergekit", "File", "Save as &mergekit YAML…", (), "Write the recipe for mergekit.", "experts"),
    Action("file.convert_pickle", "File", "Con&vert a pickle safely…", (),
           "Turn a .pt, .ckpt or .bin state dict into safetensors, in a process that can do nothing else."),
    Action("file.export", "File", "&Export merged model…", ("Ctrl+E",), "Write the merged model to disk.", "experts"),
    Action("file.bundle", "File", "Export as task &bundle…", (), "Pack all experts into one file: masks, one vector.",
           "mix"),
    Action("file.quit", "File", "&Quit", ("Ctrl+Q",), "Close Mixdown."),
    Action("edit.undo", "Edit", "&Undo", ("Ctrl+Z",), "Take back the last change.", "undo"),
    Action("edit.redo", "Edit", "&Redo", ("Ctrl+Shift+Z", "Ctrl+Y"), "Do the change again.", "redo"),
    Action("edit.preferences", "Edit", "&Preferences…", ("Ctrl+,",), "Theme, quick eval, device, threads."),
    Action("mix.eval", "Mix", "&Evaluate", ("Ctrl+Return",), "Score base, experts and the mix now.", "tasks"),
    Action("mix.auto_eval", "Mix", "Evaluate &automatically", (), "Score after every change.", checkable=True),
    Action("mix.soup", "Mix", "&Greedy soup", (), "Average experts one by one while validation scores do not fall.",
           "tasks"),
    Action("mix.sweep", "Mix", "S&weep…", (), "Measure a grid over one or two numbers, or a triangle of three experts.",
           "mix"),
    Action("mix.tune", "Mix", "&Tune…", (), "Let a tuner move the faders on validation rows of your tasks.", "mix"),
    Action("mix.add_task", "Mix", "Add &task…", ("Ctrl+T",), "Add a quick-eval task (.task.json)."),
    Action("mix.new_task", "Mix", "New task from &data…", (), "Make a task from a CSV file, images or arrays."),
    Action("mix.pin", "Mix", "&Pin this recipe", ("Ctrl+P",), "Remember the recipe; F2 on the pin renames it.",
           "experts"),
    Action("mix.explain", "Mix", "E&xplain difference of pins…", (),
           "What two pins say differently, where the merged weights differ, how scores change.", "pins"),
    Action("mix.hold_b", "Mix", "Hold to see &B", ("\\",), "While held, show the compared pin or run on the desk."),
    Action("mix.swap_ab", "Mix", "S&wap A and B", (), "A becomes B in the comparison."),
    Action("mix.adopt_b", "Mix", "A&dopt B", (), "Put the compared pin or run on the desk, as one undoable step."),
    Action("mix.copy_command", "Mix", "&Copy as command", ("Ctrl+Shift+C",),
           "Copy the command line that makes the same model.", "experts"),
    Action("mix.clear_overrides", "Mix", "C&lear overrides in selection", (),
           "Remove finer coefficients inside the selected cells.", "cells"),
    Action("select.set", "Mix", "Set coefficient of the &selection…", (), "Give the selected places a coefficient.",
           "cells"),
    Action("select.mute", "Mix", "Mute there", (), "Coefficient 0 for the selected experts in the selected places.",
           "cells"),
    Action("select.exclude", "Mix", "Exclude selection from merge", (),
           "Coefficient 0 for every expert in the selected places: the base's weights stay.", "cells"),
    Action("select.restore", "Mix", "Restore selection", (), "Back to the coefficients of the whole rows.", "cells"),
    Action("select.roles", "Mix", "Mask by role…", (), "Leave out weights by role: nobody's, only one's…", "mix"),
    Action("select.keep_roles", "Mix", "Keep all roles", (), "Leave out no weights by role any more.", "mix"),
    Action("select.clear", "Mix", "Clear selection", (), "Select nothing, on the desk and in the views.", "cells"),
    Action("mix.reset", "Mix", "&Reset all faders", (), "Every coefficient back to the method's default.", "experts"),
    Action("desk.faders", "View", "&Faders", ("Ctrl+1",), "Show coefficients as faders."),
    Action("desk.curve", "View", "&Curves", ("Ctrl+2",), "Show coefficients as curves over depth."),
    Action("desk.numbers", "View", "&Numbers", ("Ctrl+3",), "Show coefficients as a spreadsheet."),
    Action("desk.heat", "View", "&Heat", ("Ctrl+4",), "Show coefficients as colours."),
    Action("desk.finer", "View", "Finer columns", ("Shift+G",), "Model, region, layer, kinds, tensor: one step finer.",
           "mix", local=True),
    Action("desk.coarser", "View", "Coarser columns", ("G",), "One step coarser.", "mix", local=True),
    Action("desk.select_box", "View", "Type a &selection", ("/",), "Go to the selection box.", "experts"),
    Action("desk.mute", "View", "Mute row", ("M",), "Silence the current expert.", "experts", local=True),
    Action("desk.solo", "View", "Solo row", ("S",), "Hear only the current expert.", "experts", local=True),
    Action("view.models", "View", "&Models panel", (), "Show or hide the models shelf.", checkable=True),
    Action("view.details", "View", "&Details panels", (), "Show or hide inspector, scores, history and jobs.",
           checkable=True),
    Action("view.overlap", "View", "&Overlap views", ("Ctrl+B",), "Cosine, signs, masks and roles of the task vectors.",
           checkable=True),
    Action("view.live", "View", "&Live preview", (), "Estimate every score while faders move.", checkable=True),
    Action("view.examples", "View", "E&xamples", (), "Eight examples whose answers flip as faders move.",
           checkable=True),
    Action("view.runs", "View", "&Runs", ("Ctrl+R",), "Every export and score: table, scatter plot, lineage.",
           checkable=True),
    Action("view.compare", "View", "Co&mpare A and B", ("Ctrl+K",),
           "Two desks side by side, A − B, scores with the interval of their difference.", checkable=True),
    Action("view.layout", "View", "Reset &layout", (), "All panels back to their places."),
    Action("view.theme", "View", "Next &theme", ("Ctrl+Shift+T",), "Dark, light, high contrast."),
    Action("view.next_pane", "View", "Next pane", ("F6",), "Move the keyboard to the next panel."),
    Action("view.notices", "View", "N&otifications", ("F8",), "To the newest notification, or a list."),
    Action("view.palette", "View", "&Command palette…", ("Ctrl+Shift+P",), "Find any command by name."),
    Action("jobs.cancel", "Jobs", "&Cancel running jobs", ("Ctrl+.",), "Stop what runs; nothing is left behind.",
           "jobs"),
    Action("jobs.show", "Jobs", "&Show jobs", ("Ctrl+J",), "Show the jobs panel."),
    Action("help.contents", "Help", "&Help", ("F1",), "Help on what you see."),
    Action("help.shortcuts", "Help", "&Keyboard shortcuts", ("Ctrl+/",), "All keys on one page."),
    Action("help.method", "Help", "About this &method", ("Shift+F1",), "What the chosen merge method does."),
    Action("help.about", "Help", "&About Mixdown", (), "Versions, licences, privacy."),
)  # fmt: skip
"""Every action, in menu order."""

MENUS = ("File", "Edit", "Mix", "View", "Jobs", "Help")
