"""Mixdown: `main.py` opens the window; `main.py merge ...` and the other commands never load Qt."""

from __future__ import annotations

import sys


def main() -> int:
    """Run a command if the first argument is one (or asks for help), else open the window."""
    from app.cli import is_command, run

    arguments = sys.argv[1:]
    if arguments[:1] == ["--export-worker"]:
        from app.export_worker import main as work

        return work()
    if arguments[:1] == ["--eval-worker"]:
        from app.preview_worker import main as evaluate

        return evaluate()
    if is_command(arguments):
        return run(arguments)
    from app.gui import open_window

    return open_window(arguments)


if __name__ == "__main__":
    sys.exit(main())
