"""`server`: PromptServer as packs see it. Routes they declare are answered in this process; the front passes requests on."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from protocol import BinaryEventTypes

from backend.packs.host import HOST

__all__ = ["BinaryEventTypes", "PromptServer"]


class _Sockets(dict):
    """Client ids are known to the front; a message to one that is gone goes nowhere."""


class _Users:
    """Single-user installation."""

    users: dict[str, str] = {"default": "default"}  # noqa: RUF012

    def get_request_user_id(self, request: Any) -> str:
        return "default"

    def get_request_user_filepath(self, request: Any, file: str, type: str = "userdata", create_dir: bool = True) -> str:
        path = HOST.services.folders.user / "default" / (file or "")
        if create_dir:
            path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)


class PromptServer:
    """There is one, `PromptServer.instance`."""

    instance: PromptServer

    def __init__(self, loop: Any = None) -> None:
        self.routes = web.RouteTableDef()
        self.app = web.Application(client_max_size=1 << 30)
        self.sockets: dict[str, Any] = _Sockets()
        self.sockets_metadata: dict[str, Any] = {}
        self.user_manager = _Users()
        self.supports = ["custom_nodes_from_web"]
        self.client_session = None
        self.number = 0
        self.messages: asyncio.Queue[Any] | None = None
        self._prompt_queue: Any = None

    @property
    def loop(self) -> Any:
        from backend.packs.routes import LOOP

        return LOOP.loop()

    @property
    def prompt_queue(self) -> Any:
        if self._prompt_queue is None:
            from execution import PromptQueue

            self._prompt_queue = PromptQueue(self)
        return self._prompt_queue

    @property
    def client_id(self) -> str | None:
        values = HOST.context().values
        return values.get("client_id") if values else HOST.client

    @client_id.setter
    def client_id(self, value: str | None) -> None:
        HOST.client = value

    @property
    def last_node_id(self) -> str | None:
        return HOST.context().node or HOST.last_node

    @last_node_id.setter
    def last_node_id(self, value: str | None) -> None:
        HOST.last_node = value

    @property
    def last_prompt_id(self) -> str | None:
        return HOST.context().job or HOST.last_prompt

    @last_prompt_id.setter
    def last_prompt_id(self, value: str | None) -> None:
        HOST.last_prompt = value

    @property
    def port(self) -> int:
        return int(HOST.services.settings.port)

    @property
    def address(self) -> str:
        return str(HOST.services.settings.listen[0])

    @property
    def web_root(self) -> str:
        root = HOST.services.settings.front_end_root
        return str(root if root is not None else HOST.services.settings.base_directory / "web")

    def send_sync(self, event: Any, data: Any, sid: str | None = None) -> None:
        """To one browser or all; from any thread. The numbers of binary frames are told by their kind."""
        if event == BinaryEventTypes.UNENCODED_PREVIEW_IMAGE:
            from comfy.utils import encode_picture

            from backend.engine.context import Preview

            ctx = HOST.context()
            ctx.progress(0, 1, Preview(lambda: encode_picture(data)))
        elif event == BinaryEventTypes.TEXT:
            HOST.context().text(bytes(data).decode("utf-8", "replace"))
        elif isinstance(event, str):
            HOST.send(event, data, sid)

    async def send(self, event: Any, data: Any, sid: str | None = None) -> None:
        self.send_sync(event, data, sid)

    async def send_json(self, event: str, data: Any, sid: str | None = None) -> None:
        self.send_sync(event, data, sid)

    def send_progress_text(self, text: Any, node_id: str, sid: str | None = None) -> None:
        from backend.base.events import NodeText

        HOST.context().emit(NodeText(node_id, text if isinstance(text, str) else bytes(text).decode("utf-8", "replace")))

    def add_on_prompt_handler(self, handler: Any) -> None:
        """handler(body of POST /prompt) -> body."""
        HOST.prompt_handlers.append(handler)

    def trigger_on_prompt(self, json_data: Any) -> Any:
        return HOST.on_prompt(json_data)

    def add_routes(self) -> None:
        """Routes are taken from `routes` when packs are loaded; there is nothing to do."""

    def queue_updated(self) -> None:
        """The front tells everybody itself."""

    def get_queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.prompt_queue.get_tasks_remaining()}}

    def get_features(self) -> dict[str, Any]:
        return {"supports_preview_metadata": True, "max_upload_size": HOST.services.settings.max_upload}


PromptServer.instance = PromptServer()
