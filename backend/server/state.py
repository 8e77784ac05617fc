"""What routes can reach: the rooms of the front, put together once by its composition root."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from backend.base.config import Settings
from backend.base.errors import BadInput
from backend.base.paths import Folders
from backend.graph.choices import FolderChoices
from backend.graph.document import Prompt
from backend.graph.estimate import refuse_impossible
from backend.graph.validate import Checked
from backend.server import machine
from backend.server.access import OWNER, Accounts, Identity, Role
from backend.server.catalogue import Catalogue
from backend.server.downloads import Downloads
from backend.server.hub import Hub
from backend.server.jobs import Jobs
from backend.server.logs import LogRing
from backend.server.metrics import Requests
from backend.server.quota import Quota
from backend.server.recent import Submissions
from backend.server.security import IDENTITY
from backend.storage.audit import Audit
from backend.storage.digests import Digests
from backend.storage.history import History
from backend.storage.queue import Queue
from backend.storage.settings import SettingsStore, UserStore
from backend.storage.userdata import UserFiles


class UnknownUser(BadInput):
    """The request names a user that does not exist."""


@dataclass
class State:
    """One front. `hello` is what the first worker said of itself, `devices` what the others said of theirs, `beats` the last words of each;
    `counter` numbers requests."""

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
    accounts: Accounts = field(default_factory=Accounts)
    audit: Audit = field(default_factory=lambda: Audit(Path(os.devnull)))
    counter: int = 0
    hello: dict[str, Any] = field(default_factory=dict)
    devices: dict[int, dict[str, Any]] = field(default_factory=dict)
    beats: dict[int, dict[str, Any]] = field(default_factory=dict)
    stopping: bool = False
    submissions: Submissions = field(default_factory=Submissions)
    downloads: Downloads = field(init=False)
    requests: Requests = field(default_factory=Requests)
    forward: tuple[float, str] = (-1e9, "")
    digests: Digests = field(init=False)
    quota: Quota = field(init=False)
    _fits: Prompt | None = None
    _folders: dict[str, Folders] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.quota = Quota(self.settings.user_quota)
        self.downloads = Downloads(self.folders, self.settings.download_hosts, self.logs.write)
        self.digests = Digests(self.folders.user / "digests.json")

    def identity(self, request: web.Request) -> Identity:
        """Who is asking, as the guard found out."""
        found: Identity = request.get(IDENTITY, OWNER)
        return found

    def owner(self, request: web.Request) -> str | None:
        """The user whose jobs and pictures a request is about; None on a server without users."""
        return self.identity(request).user if self.accounts.users else None

    def sees(self, request: web.Request, owner: str | None) -> bool:
        """Whether a job of `owner` may be looked at and changed: it is the asker's own, or the asker is an admin."""
        identity = self.identity(request)
        return not self.accounts.users or owner == identity.user or identity.role is Role.ADMIN

    def folders_of(self, owner: str | None) -> Folders:
        """The directories of a user: input, output and temp are their own, models are everybody's."""
        if owner is None:
            return self.folders
        found = self._folders.get(owner)
        if found is None:
            found = self._folders[owner] = self.folders.of_user(owner)
            found.create()
        return found

    async def room_for(self, request: web.Request, coming: int = 0) -> None:
        """Raises NoSpace when the asker may not keep so many bytes more."""
        if self.quota.limit > 0:
            folders = self.folders_of(self.owner(request))
            places = (folders.input, folders.output, self.folders.user / self.user(request))
            await asyncio.to_thread(self.quota.take, places, coming)

    def client_id(self, request: web.Request, sid: str | None) -> str | None:
        """The name under which a client's sockets and jobs are kept: with users, nobody can name another's."""
        owner = self.owner(request)
        return sid if owner is None else f"{owner}\0{sid or ''}"

    async def check(self, request: web.Request, prompt: Prompt, targets: list[str] | None, large: bool) -> Checked:
        """Validate a prompt as the asker sees the files."""
        checked = await self.catalogue.check(prompt, targets, large, self.choices(request))
        if checked.error is None and checked.prompt is not self._fits:
            refuse_impossible(checked.prompt, self.catalogue.registry, self.catalogue.sizing, self._memory())
            self._fits = checked.prompt
        return checked

    def _memory(self) -> int:
        """Bytes of this machine and its device together; 0 when unknown."""
        device = self.hello.get("device", {})
        return machine.total() + int(device.get("vram_total") or 0)

    def choices(self, request: web.Request) -> FolderChoices | None:
        """The files a user may choose; None on a server without users, whose catalogue knows them."""
        owner = self.owner(request)
        return None if owner is None else FolderChoices(self.folders_of(owner))

    def user(self, request: web.Request) -> str:
        """The user a request speaks for. Raises UnknownUser in multi-user mode."""
        if (owner := self.owner(request)) is not None:
            return owner
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
