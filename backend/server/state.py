"""What routes can reach: the rooms of the front, put together once by its composition root."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from backend.base.config import Settings
from backend.base.errors import BadInput
from backend.base.paths import Folders
from backend.server.catalogue import Catalogue
from backend.server.hub import Hub
from backend.server.jobs import Jobs
from backend.server.logs import LogRing
from backend.storage.history import History
from backend.storage.queue import Queue
from backend.storage.settings import SettingsStore, UserStore
from backend.storage.userdata import UserFiles


class UnknownUser(BadInput):
    """The request names a user that does not exist."""


@dataclass
class State:
    """One front. `hello` and `beat` are the last words of the worker about itself; `counter` numbers requests."""

    settings: Settings
    folders: Folders
    queue: Queue
    history: History
    jobs: Jobs
    hub: Hub
    catalogue: Catalogue
    preferences: SettingsStore
    users: UserStore
    logs: LogRing
    web_root: Path
    counter: int = 0
    hello: dict[str, Any] = field(default_factory=dict)
    beat: dict[str, Any] = field(default_factory=dict)
    stopping: bool = False

    def user(self, request: web.Request) -> str:
        """The user a request speaks for. Raises UnknownUser in multi-user mode."""
        if not self.settings.multi_user:
            return "default"
        id = request.headers.get("comfy-user", "")
        if id not in self.users.all():
            raise UnknownUser(f"There is no user {id[:60]!r}.", hint="Send the header comfy-user with an id from /users.")
        return id

    def user_files(self, request: web.Request) -> UserFiles:
        """The files of the user a request speaks for."""
        return UserFiles(self.folders.user / self.user(request))

    def packs(self) -> list[dict[str, Any]]:
        """The node packs the worker has loaded."""
        found: list[dict[str, Any]] = self.hello.get("packs", [])
        return found


STATE = web.AppKey("state", State)


def state_of(request: web.Request) -> State:
    """The front a request belongs to."""
    return request.app[STATE]
