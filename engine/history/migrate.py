"""Bringing a database's tables to what this version knows, by Alembic's revisions in `engine/migrations`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from engine.history.schema import HEAD

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

FOLDER = Path(__file__).resolve().parent.parent / "migrations"
VERSION_TABLE = "mixdown_history_version"
_LOCK = 0x6D6978  # any number that is ours: two first starts at once wait for each other
NEWER = "This history was written by a newer Mixdown. It is shown, but nothing is added to it."


def current(connection: Connection) -> str | None:
    """The revision of the tables, None where there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return str(found) if found is not None else None


def is_old(connection: Connection) -> bool:
    """Whether there are tables that `upgrade` will change."""
    found = current(connection)
    return found not in (None, HEAD) and found in {r.revision for r in scripts().walk_revisions()}


def is_current(connection: Connection) -> bool:
    """Whether the tables are those of this version; cheaper than `current`, for tables that are there."""
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == HEAD


def upgrade(connection: Connection, target: str = HEAD) -> str:
    """Make or upgrade the tables inside the connection's transaction.

    Returns:
        "" when the tables are up to date, else why they must not be written.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    found = current(connection)
    if found == target:
        return ""
    script = scripts()
    known = {r.revision for r in script.walk_revisions()}
    if found is not None and found not in known:
        return NEWER
    _run(connection, script, target)
    return ""


def scripts() -> ScriptDirectory:
    """The revisions that are shipped."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])


def _run(connection: Connection, script: ScriptDirectory, target: str) -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    def steps(revision: Any, _: Any) -> Any:
        return script._upgrade_revs(target, revision)

    context = MigrationContext.configure(connection, opts={"fn": steps, "version_table": VERSION_TABLE})
    with Operations.context(context):
        context.run_migrations()
