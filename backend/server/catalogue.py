"""The node types as the worker described them: validation and `/object_info` without asking it again."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.base.errors import NotInstalled, Problem
from backend.graph.choices import Choices, FolderChoices
from backend.graph.custom import Answer, Question
from backend.graph.describe import from_wire, object_info
from backend.graph.document import Prompt
from backend.graph.estimate import sizing
from backend.graph.registry import Registry
from backend.graph.schema import Files, NodeType
from backend.graph.validate import Checked, validate
from backend.server.jobs import Worker

REFRESH_EVERY_S = 1.0
REFRESH_WAIT_S = 1.0
ASK_WAIT_S = 30.0
START_WAIT_S = 180.0


@dataclass(frozen=True, slots=True)
class Document:
    """A prebuilt reply."""

    body: bytes
    zipped: bytes
    etag: str


def _read(nodes: list[Mapping[str, Any]]) -> list[NodeType]:
    """Without the collector, which would look through all of these lasting objects several times while they are made."""
    gc.disable()
    try:
        return [from_wire(data) for data in nodes]
    finally:
        gc.enable()


class Catalogue:
    """Follows the worker: `hear` while it describes, `learn` with its hello. Files are listed here, so they are right while it computes."""

    def __init__(self, choices: FolderChoices, say: Callable[[str], None]) -> None:
        self.choices = choices
        self.registry = Registry()
        self.ready = asyncio.Event()
        self.worker: Worker | None = None
        self._say = say
        self._dynamic = False
        self._heard: dict[str, NodeType] = {}
        self._heard_dynamic = False
        self._files: tuple[Files, ...] | None = None
        self._sizing: frozenset[str] | None = None
        self._built: tuple[tuple[tuple[str, ...], ...], Document] | None = None
        self._refreshed = -REFRESH_EVERY_S
        self._building = asyncio.Lock()
        self._checked: Checked | None = None

    async def hear(self, nodes: list[Mapping[str, Any]]) -> None:
        """Read descriptions that a worker gives while it starts, a later one of a type in place of an earlier one. Others are answered
        meanwhile: a thousand take a good while."""
        types = await asyncio.to_thread(_read, nodes)
        self._heard.update((t.id, t) for t in types)
        self._heard_dynamic |= any(data.get("dynamic") for data in nodes)

    def forget(self) -> None:
        """The worker that described them has ended before it was ready."""
        self._heard, self._heard_dynamic = {}, False

    def learn(self) -> None:
        """The worker is ready: what it described are all types there are."""
        self._dynamic = self._heard_dynamic
        self._take(Registry(self._heard.values()))
        self.forget()

    def _take(self, registry: Registry) -> None:
        self.registry = registry
        self._built = self._files = self._sizing = None  # found when they are asked for
        self.ready.set()

    @property
    def sizing(self) -> frozenset[str]:
        """The types whose constants decide about sizes."""
        if self._sizing is None:
            self._sizing = sizing(self.registry.values())
        return self._sizing

    async def wait(self) -> None:
        """Wait for the first description. Raises NotInstalled when the worker does not come up."""
        if self.ready.is_set():
            return
        try:
            await asyncio.wait_for(self.ready.wait(), START_WAIT_S)
        except TimeoutError:
            raise NotInstalled(
                "The worker has not started yet, so the node types are unknown.", hint="See the log for the reason."
            ) from None

    async def check(self, prompt: Prompt, targets: list[str] | None, large: bool, choices: Choices | None = None) -> Checked:
        """Validate. In a thread where it takes long or where node types must be asked. What was found right a moment ago is looked at
        again only where it may have changed."""
        await self.wait()
        if choices is not None:
            return await self._check_among(prompt, targets, choices)
        registry, before = self.registry, self._checked
        asks = any((t := registry.get(id)) is not None and t.has_validate for id in {n.type for n in prompt.nodes.values()})
        if not asks and not large:
            checked = validate(prompt, registry, targets, self.choices, before=before)
        else:
            loop = asyncio.get_running_loop()

            def ask(questions: Any) -> list[Answer]:
                return asyncio.run_coroutine_threadsafe(self._ask(questions), loop).result()

            checked = await asyncio.to_thread(validate, prompt, registry, targets, self.choices, ask, before)
        if checked.basis is not None:
            self._checked = checked
        return checked

    async def _check_among(self, prompt: Prompt, targets: list[str] | None, choices: Choices) -> Checked:
        """Validate against the files of one user."""
        loop = asyncio.get_running_loop()

        def ask(questions: Any) -> list[Answer]:
            return asyncio.run_coroutine_threadsafe(self._ask(questions), loop).result()

        return await asyncio.to_thread(validate, prompt, self.registry, targets, choices, ask)

    async def _awake(self) -> Worker:
        """The worker once it answers: after a death it is back in seconds. Raises NotInstalled when it is not."""
        assert self.worker is not None
        try:
            await asyncio.wait_for(self.worker.ready.wait(), ASK_WAIT_S)
        except TimeoutError:
            raise NotInstalled("The worker is starting again and does not answer yet.", hint="Try again in a few seconds.") from None
        return self.worker

    async def _ask(self, questions: list[Question]) -> list[Answer]:
        worker = await self._awake()
        try:
            answers: list[Answer] = await worker.call("validate", [q.to_json() for q in questions], ASK_WAIT_S)
        except NotInstalled as problem:
            asked = ", ".join(sorted({q.type for q in questions})[:5])
            said = f"{problem.message} It was asked for the checks that these nodes do themselves: {asked}."
            raise type(problem)(said, hint=problem.hint) from None
        return answers

    async def rewritten(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body of a new job after the handlers of node packs; as it was when they do not answer."""
        try:
            changed = await (await self._awake()).call("on_prompt", body, ASK_WAIT_S)
        except Problem as problem:
            self._say(f"The handlers of node packs were passed over: {problem}")
            return body
        return changed if isinstance(changed, dict) else body

    async def describe(self, id: str, choices: Choices | None = None) -> str:
        """JSON text of one type, `{}` when there is none; with `choices` as a user sees it."""
        await self.wait()
        await self._refresh()
        t = self.registry.get(id)
        return "{}" if t is None else json.dumps({id: object_info(t, choices or self.choices)})

    def definitions(self, types: Iterable[str]) -> dict[str, Any]:
        """Descriptions of the types that are known, by id. Lists folders of models, so it belongs in a thread."""
        registry = self.registry
        return {id: object_info(t, self.choices) for id in types if (t := registry.get(id)) is not None}

    async def document(self, choices: Choices | None = None) -> Document:
        """All types. Rebuilt only when a type or the files it offers have changed; with `choices` as a user sees them, built each time."""
        await self.wait()
        await self._refresh()
        if choices is not None:
            return await asyncio.to_thread(self._build, choices)
        async with self._building:
            if self._files is None:
                self._files = tuple({f: None for t in self.registry.values() for f in _files_of(t)})
            listing = tuple(tuple(self.choices(f)) for f in self._files)
            if self._built is None or self._built[0] != listing:
                built = await asyncio.to_thread(self._build)
                self._built = (listing, built)
            return self._built[1]

    def _build(self, choices: Choices | None = None) -> Document:
        info = {id: object_info(t, choices or self.choices) for id, t in self.registry.items()}
        body = json.dumps(info, separators=(",", ":")).encode()
        return Document(body, gzip.compress(body, 5, mtime=0), f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')

    async def _refresh(self) -> None:
        """Ask types whose inputs may change for their present form; when the worker does not answer, the last one stands."""
        if not self._dynamic or self.worker is None or time.monotonic() - self._refreshed < REFRESH_EVERY_S:
            return
        self._refreshed = time.monotonic()
        try:
            changed = await self.worker.call("refresh", None, REFRESH_WAIT_S)
        except Problem as problem:
            self._say(f"Node descriptions were not refreshed: {problem}")
            return
        if changed:
            self._take(self.registry.with_types([from_wire(data) for data in changed]))


def _files_of(t: NodeType) -> list[Files]:
    found = [i.kind for i in t.inputs if isinstance(i.kind, Files)]
    found += [v for i in t.inputs for v in (i.options or {}).values() if isinstance(v, Files)]
    return found
