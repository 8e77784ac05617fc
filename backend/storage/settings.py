"""Users and their settings. Values are JSON."""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from backend.base.errors import BadInput
from backend.storage.db import Database

MOST = 16 << 20
"""Characters that the settings of one user may have together."""


class SettingsStore:
    """Per-user key → JSON value."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, user: str) -> dict[str, Any]:
        """Every stored setting of a user."""
        rows = self._database.read(lambda c: c.execute("SELECT id, value FROM settings WHERE user=? ORDER BY id", (user,)).fetchall())
        return {id: json.loads(value) for id, value in rows}

    def get(self, user: str, id: str) -> Any:
        """One value, or None."""
        row = self._database.read(lambda c: c.execute("SELECT value FROM settings WHERE user=? AND id=?", (user, id)).fetchone())
        return None if row is None else json.loads(row[0])

    def merge(self, user: str, values: Mapping[str, Any]) -> Future[None]:
        """Store these; the others stay. Raises BadInput for names that are empty or have line ends, and for returns and NULs in texts."""
        for id, value in values.items():
            _plain(id, id, "\r\n\0")
            _plain(id, value, "\r\0")
        rows = [(user, id, json.dumps(value)) for id, value in values.items()]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO settings(user, id, value) VALUES(?,?,?)", rows)
            (size,) = connection.execute("SELECT sum(length(id) + length(value)) FROM settings WHERE user=?", (user,)).fetchone()
            if (size or 0) > MOST:
                raise BadInput(f"The settings would take {size / 2**20:,.1f} MB.", hint=f"They may take {MOST >> 20} MB; use files.")

        return self._database.write(work)


def _plain(id: str, value: Any, forbidden: str) -> None:
    """No setting may hold what would begin a new line in a file that some program writes it to."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one
        elif isinstance(one, str) and (not id or any(c in one for c in forbidden)):
            raise BadInput(f"The setting {id!r:.80} has a line end or NUL where none may be.", hint="Leave it out.")


class UserStore:
    """The users of a multi-user server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, str]:
        """id → name."""
        return dict(self._database.read(lambda c: c.execute("SELECT id, name FROM users ORDER BY name").fetchall()))

    def add(self, name: str) -> Future[str]:
        """Create a user; the future gives the new id or carries BadInput when the name is taken or empty."""
        plain = re.sub(r"[^a-zA-Z0-9-_]+", "-", name.strip())[:64]
        if not plain:
            raise BadInput("The user name is empty.", hint="Send a name with letters or digits.")
        id = f"{plain}_{uuid.uuid4()}"

        def work(connection: sqlite3.Connection) -> str:
            try:
                connection.execute("INSERT INTO users(id, name) VALUES(?,?)", (id, name))
            except sqlite3.IntegrityError as error:
                raise BadInput("Duplicate username.", hint="Choose another name.") from error
            return id

        return self._database.write(work)
