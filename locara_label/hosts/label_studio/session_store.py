"""Open sessions on videos, in a store that several servers share: enough of each to build it again elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, insert, select, update

from locara_label.errors import StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.store_tables import SESSIONS


@dataclass(frozen=True)
class KeptSession:
    """A session as it is kept.

    Attributes:
        id: that its owner knows.
        owner: whose it is.
        model: name of the model that follows the objects.
        video: reference of the video.
        name: the owner's, if any.
        recipe: plain JSON; see `engine.recipe_json`.
        version: of the recipe, one more with each change.
        began_s, used_s: seconds since 1970, by the clock of the server that wrote it.
    """

    id: str
    owner: str
    model: str
    video: str
    name: str | None
    recipe: Mapping[str, Any]
    version: int
    began_s: float
    used_s: float


class SessionStore:
    """The sessions in a store of masklets, which stays that of whoever opened it. Threads may share it.

    Every method raises StoreFailed, as those of the store of masklets do.
    """

    def __init__(self, store: MaskletStore) -> None:
        self._database = store.database

    def add(self, session: KeptSession) -> None:
        """Keeps a new session."""
        row = {**session.__dict__, "recipe": json.dumps(session.recipe)}
        with self._database.writing() as connection:
            connection.execute(insert(SESSIONS), row)

    def read(self, owner: str, session_id: str) -> KeptSession | None:
        """An owner's session; None where there is none."""
        with self._database.reading() as connection:
            row = connection.execute(select(SESSIONS).where(_at(owner, session_id))).one_or_none()
        if row is None:
            return None
        try:
            return KeptSession(**{**row._mapping, "recipe": json.loads(row.recipe)})  # noqa: SLF001 - the documented name
        except (ValueError, RecursionError) as error:
            raise StoreFailed(f"{self._database.said} is damaged at a session: {error}", code="store.damaged") from error

    def version(self, owner: str, session_id: str) -> int | None:
        """Of a session's recipe; None where there is none."""
        with self._database.reading() as connection:
            return connection.execute(select(SESSIONS.c.version).where(_at(owner, session_id))).scalar_one_or_none()

    def save(self, owner: str, session_id: str, recipe: Mapping[str, Any], version: int, used_s: float) -> None:
        """Keeps a later version of a recipe; nothing happens to a session that was closed meanwhile."""
        values = {"recipe": json.dumps(recipe), "version": version, "used_s": used_s}
        with self._database.writing() as connection:
            connection.execute(update(SESSIONS).where(_at(owner, session_id)).values(**values))

    def touch(self, owner: str, session_id: str, used_s: float) -> None:
        """Keeps that a session was used; nothing happens to one that was closed meanwhile."""
        with self._database.writing() as connection:
            connection.execute(update(SESSIONS).where(_at(owner, session_id)).values(used_s=used_s))

    def remove(self, owner: str, session_id: str) -> bool:
        """Forgets a session; whether there was one."""
        with self._database.writing() as connection:
            return connection.execute(delete(SESSIONS).where(_at(owner, session_id))).rowcount > 0

    def used(self) -> dict[str, float]:
        """`used_s` of all sessions, of all owners, by their ids."""
        with self._database.reading() as connection:
            return {row.id: row.used_s for row in connection.execute(select(SESSIONS.c.id, SESSIONS.c.used_s))}

    def remove_unused(self, used: Mapping[str, float]) -> None:
        """Forgets some of what `used` gave, except what was used meanwhile."""
        if used:
            one = delete(SESSIONS).where(SESSIONS.c.id == bindparam("its_id"), SESSIONS.c.used_s == bindparam("its_s"))
            with self._database.writing() as connection:
                connection.execute(one, [{"its_id": session_id, "its_s": used_s} for session_id, used_s in used.items()])


def _at(owner: str, session_id: str) -> ColumnElement[bool]:
    return and_(SESSIONS.c.id == session_id, SESSIONS.c.owner == owner)
