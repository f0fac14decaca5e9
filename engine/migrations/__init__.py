"""Revisions of the history's tables, run by Alembic (`engine.history.migrate`); one module for each, never edited."""
