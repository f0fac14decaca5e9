"""The tables as SQLAlchemy models; `engine/migrations` makes them. A test holds the two together."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

HEAD = "r0002"
"""The revision that these models describe."""

Key = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """All tables."""


class RunRow(Base):
    """One run; see `engine.history.values.Facts` and `Run`."""

    __tablename__ = "runs"
    __table_args__ = (Index("runs_created", "created"), Index("runs_key", "key"), Index("runs_output", "output_sha256"),
                      Index("runs_score", "score"), {"sqlite_autoincrement": True})  # fmt: skip

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    created: Mapped[float] = mapped_column(Double)
    key: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(128))
    title: Mapped[str] = mapped_column(Text)
    recipe: Mapped[str] = mapped_column(Text)
    search: Mapped[str] = mapped_column(Text)
    base: Mapped[str] = mapped_column(Text)
    experts: Mapped[int] = mapped_column(Integer)
    seconds: Mapped[float | None] = mapped_column(Double)
    device: Mapped[str] = mapped_column(Text)
    versions: Mapped[str] = mapped_column(Text)
    output_path: Mapped[str] = mapped_column(Text)
    output_sha256: Mapped[str] = mapped_column(String(64))
    output_bytes: Mapped[int] = mapped_column(BigInteger)
    score: Mapped[float | None] = mapped_column(Double)
    score_low: Mapped[float | None] = mapped_column(Double)
    score_high: Mapped[float | None] = mapped_column(Double)
    score_rows: Mapped[int | None] = mapped_column(Integer)
    score_unit: Mapped[str] = mapped_column(String(32))
    digest: Mapped[str] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text, default="", server_default="")
    star: Mapped[bool] = mapped_column(Boolean, default=False, server_default="0")
    deleted: Mapped[float | None] = mapped_column(Double)

    inputs: Mapped[list[InputRow]] = relationship(order_by="InputRow.id", cascade="all, delete-orphan")
    scores: Mapped[list[ScoreRow]] = relationship(order_by="ScoreRow.id", cascade="all, delete-orphan")
    params: Mapped[list[ParamRow]] = relationship(order_by="ParamRow.id", cascade="all, delete-orphan")
    tags: Mapped[list[TagRow]] = relationship(order_by="TagRow.tag", cascade="all, delete-orphan")


class InputRow(Base):
    """A model that went into a run."""

    __tablename__ = "run_inputs"
    __table_args__ = (Index("run_inputs_run", "run_id"), Index("run_inputs_sha256", "sha256"))

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))


class ScoreRow(Base):
    """A score of a run; `shown` is the value as people read it (84.2 for a share of 0.842)."""

    __tablename__ = "run_scores"
    __table_args__ = (Index("run_scores_run", "run_id", "task"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    task: Mapped[str] = mapped_column(Text)
    split: Mapped[str] = mapped_column(String(16))
    metric: Mapped[str] = mapped_column(String(64))
    value: Mapped[float] = mapped_column(Double)
    low: Mapped[float] = mapped_column(Double)
    high: Mapped[float] = mapped_column(Double)
    correct: Mapped[int] = mapped_column(Integer)
    count: Mapped[int] = mapped_column(Integer)
    shown: Mapped[float] = mapped_column(Double)


class ParamRow(Base):
    """A parameter of a run's method: JSON, and the number where it is one."""

    __tablename__ = "run_params"
    __table_args__ = (Index("run_params_run", "run_id", "name"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(128))
    value: Mapped[str] = mapped_column(Text)
    number: Mapped[float | None] = mapped_column(Double)


class TagRow(Base):
    """A word that the user put on a run."""

    __tablename__ = "run_tags"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True)
