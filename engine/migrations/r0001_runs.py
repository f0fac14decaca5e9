"""Runs with their inputs, scores and parameters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _run() -> sa.Column[int]:
    return sa.Column("run_id", _KEY, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False)


def upgrade() -> None:
    """Make the tables."""
    text: sa.Text = sa.Text()
    number: sa.Double[float] = sa.Double()
    op.create_table(
        "runs",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("uid", sa.String(32), nullable=False, unique=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("method", sa.String(128), nullable=False),
        *(sa.Column(name, text, nullable=False) for name in ("title", "recipe", "search", "base")),
        sa.Column("experts", sa.Integer(), nullable=False),
        sa.Column("seconds", number),
        *(sa.Column(name, text, nullable=False) for name in ("device", "versions", "output_path")),
        sa.Column("output_sha256", sa.String(64), nullable=False),
        sa.Column("output_bytes", sa.BigInteger(), nullable=False),
        *(sa.Column(name, number) for name in ("score", "score_low", "score_high")),
        sa.Column("score_rows", sa.Integer()),
        sa.Column("score_unit", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sqlite_autoincrement=True,
    )
    for name, column in (("created", "created"), ("key", "key"), ("output", "output_sha256"), ("score", "score")):
        op.create_index(f"runs_{name}", "runs", [column])
    op.create_table(
        "run_inputs", sa.Column("id", _KEY, primary_key=True), _run(),
        sa.Column("role", sa.String(16), nullable=False), sa.Column("name", text, nullable=False),
        sa.Column("path", text, nullable=False), sa.Column("sha256", sa.String(64), nullable=False),
    )  # fmt: skip
    op.create_table(
        "run_scores", sa.Column("id", _KEY, primary_key=True), _run(), sa.Column("task", text, nullable=False),
        sa.Column("split", sa.String(16), nullable=False), sa.Column("metric", sa.String(64), nullable=False),
        *(sa.Column(name, number, nullable=False) for name in ("value", "low", "high")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("correct", "count")),
        sa.Column("shown", number, nullable=False),
    )  # fmt: skip
    op.create_table(
        "run_params", sa.Column("id", _KEY, primary_key=True), _run(),
        sa.Column("name", sa.String(128), nullable=False), sa.Column("value", text, nullable=False),
        sa.Column("number", number),
    )  # fmt: skip
    op.create_index("run_inputs_run", "run_inputs", ["run_id"])
    op.create_index("run_inputs_sha256", "run_inputs", ["sha256"])
    op.create_index("run_scores_run", "run_scores", ["run_id", "task"])
    op.create_index("run_params_run", "run_params", ["run_id", "name"])
