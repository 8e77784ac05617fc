"""Who is asking and what they may do: tokens, users and their roles, and how often somebody may try.

Tokens are kept and compared as SHA-256 digests, all of them each time, so that neither a match nor its place shows in the time it takes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from backend.base.config import Settings
from backend.base.errors import BadFile, MissingFile, Refused
from backend.base.paths import Folders

SHORTEST_TOKEN = 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MOST_KNOWN = 4096


class Role(IntEnum):
    """What somebody may do; each may what those before it may."""

    VIEWER = 1  # look at the own queue, history and pictures
    EDITOR = 2  # queue, change and cancel own jobs, upload and save files
    ADMIN = 3  # everybody's queue, the log, memory, downloads


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking. `user` is None on a server without users: everything then belongs to the one person who has it."""

    user: str | None
    role: Role


OWNER = Identity(None, Role.ADMIN)


class Accounts:
    """The tokens a server accepts. None at all means that nobody is asked for one."""

    def __init__(self, entries: Iterable[tuple[bytes, Identity]] = (), users: bool = False) -> None:
        self._entries = tuple(entries)
        self.users = users

    def __bool__(self) -> bool:
        return bool(self._entries)

    def find(self, token: str) -> Identity | None:
        """The identity of a token, or None."""
        given = digest(token)
        found: Identity | None = None
        for known, identity in self._entries:
            if hmac.compare_digest(known, given) and found is None:
                found = identity
        return found

    @classmethod
    def of(cls, settings: Settings, folders: Folders) -> Accounts:
        """The accounts that the settings mean. Raises MissingFile, BadFile, Refused."""
        entries: list[tuple[bytes, Identity]] = []
        if settings.users_file is not None:
            entries += read_users(settings.users_file, folders)
        users = bool(entries)
        if settings.token:
            entries.append((digest(settings.token), Identity("admin", Role.ADMIN) if users else OWNER))
        return cls(entries, users)


def digest(token: str) -> bytes:
    """How a token is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_token() -> str:
    """A token nobody can guess (192 bits)."""
    return secrets.token_urlsafe(24)


def read_users(path: Path, folders: Folders) -> list[tuple[bytes, Identity]]:
    """Users of a file `{"users": {"anna": {"role": "editor", "token_sha256": "hex"}}}`; `"token": "..."` is understood too.

    Raises MissingFile, BadFile naming the user that is wrong, and Refused when the file lies where requests can write.
    """
    where = path.resolve()
    form = "See docs/security.md for its form."
    for directory in (folders.input, folders.output, folders.temp, folders.user / "default"):
        if where.is_relative_to(directory.resolve()):
            raise Refused(
                f"The users file {path.name} lies in {directory}, which requests can write to.", hint="Move it elsewhere.", file=path
            )
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise MissingFile(f"There is no users file {path}.", hint="Check --users-file.", file=path) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"The users file {path.name} cannot be read: {error}.", hint=form, file=path) from error
    users = content.get("users") if isinstance(content, dict) else None
    if not isinstance(users, dict) or not users:
        raise BadFile(f'The users file {path.name} has no object "users".', hint=form, file=path)
    entries = [(_digest_of(name, about, path), Identity(name, _role_of(name, about, path))) for name, about in users.items()]
    if len({known for known, _ in entries}) < len(entries):
        raise BadFile(f"Two users of {path.name} have the same token.", hint="Give each a token of their own.", file=path)
    if os.name == "posix" and where.stat().st_mode & 0o022:
        raise Refused(f"The users file {path.name} can be changed by others on this machine.", hint=f"chmod 600 {path}", file=path)
    return entries


def _role_of(name: str, about: Any, path: Path) -> Role:
    roles = ", ".join(role.name.lower() for role in Role)
    if not _NAME.fullmatch(name):
        raise BadFile(f"The user name {name!r:.80} of {path.name} is not usable.", hint="Use letters, digits, - and _.", file=path)
    given = str(about.get("role", "editor")).upper()
    if given not in Role.__members__:
        raise BadFile(f"User {name} of {path.name} has the unknown role {given.lower()!r:.40}.", hint=f"Use one of: {roles}.", file=path)
    return Role[given]


def _digest_of(name: str, about: Any, path: Path) -> bytes:
    hint = 'Give the user a "token" or the "token_sha256" of one.'
    if isinstance(about, dict):
        token, known = about.get("token"), about.get("token_sha256")
        if isinstance(token, str) and len(token) >= SHORTEST_TOKEN:
            return digest(token)
        if isinstance(known, str) and re.fullmatch("[0-9a-fA-F]{64}", known):
            return bytes.fromhex(known)
    raise BadFile(f"User {name!r:.80} of {path.name} has no usable token.", hint=hint, file=path)


class Allowance:
    """How often each of many may do something: `most` at once, refilled over `per_s` seconds (a token bucket each)."""

    def __init__(self, most: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._rate, self._clock = most, most / per_s, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, who: str) -> float:
        """Seconds until `who` may again; 0 when now."""
        left = self._now(who)
        return 0.0 if left >= 1.0 else (1.0 - left) / self._rate

    def take(self, who: str) -> None:
        """Count one. The books of those longest away are closed when there are too many."""
        self._left[who] = (max(0.0, self._now(who) - 1.0), self._clock())
        self._left.move_to_end(who)
        while len(self._left) > _MOST_KNOWN:
            self._left.popitem(last=False)

    def _now(self, who: str) -> float:
        left, at = self._left.get(who, (self._most, 0.0))
        return min(self._most, left + (self._clock() - at) * self._rate)
