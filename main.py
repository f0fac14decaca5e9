"""Mixdown: `main.py` opens the window; `main.py merge ...` and the other commands never load Qt."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


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
        return leave(run(arguments))
    from app.gui import open_window

    return open_window(arguments)


def leave(code: int) -> int:
    """End a command: threads have ended, files are closed, and taking torch apart would cost up to half a second."""
    quick = "torch" in sys.modules
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # closed by who started it
                stream.flush()
        except BrokenPipeError:
            quick = True  # nobody reads it any more; the interpreter would complain about it once more
        except OSError as error:  # a full disk: what was to be read is not there
            if not code:  # else there was a word on stderr
                with suppress(OSError):
                    os.write(2, f"mixdown: the output cannot be written: {error.strerror}\n".encode())
            quick, code = True, code or 1
    if quick:
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
