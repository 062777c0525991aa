"""The tables of the store, the same in SQLite and in PostgreSQL, and the steps from each version of them to the next."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

_METADATA = MetaData()
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_REAL: Double[float] = Double()
_TEXT = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Compared by code points everywhere, so that lists come in the same order."""


def _numbers(*names: str) -> list[Column[Any]]:
    return [Column(name, _NUMBER, nullable=False) for name in names]


def _reals(*names: str) -> list[Column[Any]]:
    return [Column(name, _REAL, nullable=False) for name in names]


def _texts(*names: str) -> list[Column[Any]]:
    return [Column(name, _TEXT, nullable=False) for name in names]


def _id() -> Column[Any]:
    return Column("id", _NUMBER, primary_key=True)


MASKLETS = Table(
    "masklets",
    _METADATA,
    _id(),
    *_numbers("project", "task"),
    *_texts("region", "video", "to_name", "from_name"),
    *_numbers("height", "width", "frame_count"),
    *_texts("label", "model", "version", "prompts", "state", "wanted"),
    Column("error", _TEXT),
    UniqueConstraint("project", "task", "region"),
)
_BY_STATE = Index("masklets_by_state", MASKLETS.c.state)

FRAMES = Table(
    "frames",
    _METADATA,
    Column("masklet", _NUMBER, ForeignKey(MASKLETS.c.id, ondelete="CASCADE"), primary_key=True),
    Column("frame", _NUMBER, primary_key=True),
    *_reals("time_s"),
    *_texts("counts"),
    *_reals("score"),
    *_numbers("present", "prompted"),
)

WISHES = Table(
    "wishes",
    _METADATA,
    _id(),
    *_numbers("project", "task"),
    *_texts("content"),
    UniqueConstraint("project", "task"),
)

ANSWERS = Table(
    "answers",
    _METADATA,
    _id(),
    *_numbers("project", "task"),
    *_reals("at_s", "seconds"),
    *_texts("kind", "model", "objects"),
)
_BY_PROJECT = Index("answers_by_project", ANSWERS.c.project, ANSWERS.c.task)

SESSIONS = Table(
    "sessions",
    _METADATA,
    Column("id", _TEXT, primary_key=True),
    *_texts("owner", "model", "video"),
    Column("name", _TEXT),
    *_texts("recipe"),
    *_numbers("version"),
    *_reals("began_s", "used_s"),
)

STORE = Table("store", _METADATA, Column("version", Integer, nullable=False))
"""One row. A file of SQLite has a place of its own for that."""

STEPS: tuple[tuple[ExecutableDDLElement, ...], ...] = (
    (CreateTable(MASKLETS), CreateTable(FRAMES), CreateIndex(_BY_STATE)),
    (CreateTable(WISHES),),
    # Answers were kept before they had a place in a version.
    (CreateTable(ANSWERS, if_not_exists=True), CreateIndex(_BY_PROJECT, if_not_exists=True), CreateTable(SESSIONS)),
)
"""A later column of a table is a step of its own, and the step that makes the table keeps making it as it was."""
VERSION = len(STEPS)
"""Of the tables; a store with a higher one was written by a later release."""
