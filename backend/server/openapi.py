"""The description of the HTTP API (OpenAPI 3.1), made from the routes themselves.

Paths, methods and summaries are those of the handlers; the query is what a handler reads, found in its source; bodies that have a fixed
form are written down here beside the schema of errors.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from backend.base.config import VERSION

Json = dict[str, Any]
_SEGMENT = re.compile(r"\{([^}:]+)(?::[^}]*)?\}")
_QUERY = re.compile(r"""(int_query|flag_query)\(request, "(\w+)"|query(?:\.get\(|\[)"(\w+)\"""")
_TYPES = {"int_query": {"type": "integer"}, "flag_query": {"type": "string", "enum": ["true", "false", "1", "0"]}}

_TEXT, _IDS, _NUMBER = {"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "number"}
_GRAPH = {"type": "object", "description": "Nodes by id, or an editor workflow."}


def _object(required: tuple[str, ...] = (), **properties: Json) -> Json:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


_BODIES: dict[tuple[str, str], Json] = {
    ("post", "/prompt"): _object(
        ("prompt",),
        prompt=_GRAPH,
        client_id=_TEXT,
        prompt_id=_TEXT,
        number=_NUMBER,
        front={"type": "boolean"},
        extra_data={"type": "object"},
        partial_execution_targets=_IDS,
    ),
    ("post", "/queue"): _object(clear={"type": "boolean"}, delete=_IDS),
    ("post", "/queue/reorder"): _object(("ids",), ids=_IDS, before=_TEXT),
    ("post", "/history"): _object(clear={"type": "boolean"}, delete=_IDS),
    ("post", "/interrupt"): _object(prompt_id=_TEXT),
    ("post", "/free"): _object(unload_models={"type": "boolean"}, free_memory={"type": "boolean"}),
    ("patch", "/jobs/{id}"): _object(number=_NUMBER, prompt=_GRAPH),
    ("post", "/settings"): {"type": "object"},
    ("post", "/settings/{id}"): {},
    ("post", "/users"): _object(("username",), username=_TEXT),
    ("post", "/downloads"): _object(("url", "kind", "name"), url=_TEXT, kind=_TEXT, name=_TEXT, sha256=_TEXT),
    ("post", "/workflow/models"): _object(("prompt",), prompt=_GRAPH, workflow={"type": "object"}),
    ("patch", "/internal/logs/subscribe"): _object(("clientId", "enabled"), clientId=_TEXT, enabled={"type": "boolean"}),
}
_UPLOAD = _object(
    ("image",), image={"type": "string", "format": "binary"}, type=_TEXT, subfolder=_TEXT, overwrite=_TEXT, original_ref=_TEXT
)
_RAW = ("/userdata/{file}", "/workflow/convert")
_ERROR = _object(
    ("error",),
    error=_object(("type", "message", "details"), type=_TEXT, message=_TEXT, details=_TEXT, extra_info={"type": "object"}),
    node_errors={"type": "object"},
)
_ERROR_REF = {"$ref": "#/components/schemas/Error"}


def document(app: web.Application) -> Json:
    """The whole description."""
    paths: dict[str, Json] = {}
    for method, path, handler in _routes(app):
        paths.setdefault(path, {})[method] = _operation(method, path, handler)
    scheme = {"type": "http", "scheme": "bearer", "description": "Only where the server was started with tokens."}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Emulsion", "version": VERSION, "description": "Queue graphs of nodes, follow them, fetch their pictures."},
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": {"Error": _ERROR}, "securitySchemes": {"token": scheme}},
    }


def _routes(app: web.Application) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Methods, paths and handlers, without the doubles under /api and the files of the page."""
    for route in app.router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        if route.method in ("HEAD", "*", "OPTIONS") or path.startswith("/api/") or path in ("/{file}", "/"):
            continue
        yield route.method.lower(), path, route.handler


def _operation(method: str, path: str, handler: Callable[..., Any]) -> Json:
    source = inspect.getsource(handler)
    words = (inspect.getdoc(handler) or handler.__name__.replace("_", " ").capitalize()).strip()
    room = handler.__module__.rsplit(".", 1)[-1]
    parameters: list[Json] = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in _SEGMENT.findall(path)]
    seen: set[str] = set()
    for helper, typed, plain in _QUERY.findall(source):
        name = typed or plain
        if name not in seen:
            seen.add(name)
            parameters.append({"name": name, "in": "query", "schema": _TYPES.get(helper, _TEXT)})
    made: Json = {
        "operationId": f"{room}_{handler.__name__}",
        "tags": [room],
        "summary": words.split("\n")[0],
        "parameters": parameters,
        "responses": {
            "200": {"description": "As docs/api.md says."},
            "default": {"description": "An error as a sentence.", "content": {"application/json": {"schema": _ERROR_REF}}},
        },
    }
    if method != "get" and (body := _body(method, path)) is not None:
        made["requestBody"] = body
    return made


def _body(method: str, path: str) -> Json | None:
    if (schema := _BODIES.get((method, path))) is not None:
        return {"required": True, "content": {"application/json": {"schema": schema}}}
    if path.startswith("/upload/"):
        return {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD}}}
    if method == "post" and path in _RAW:
        return {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    return None
