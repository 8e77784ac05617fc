"""Answers, and reading what was asked: errors become typed JSON with the right status, never a bare 500."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from aiohttp import web

from backend.base.errors import BadFile, BadInput, MissingFile, NotInstalled, OutOfMemory, Problem, Refused
from backend.base.jsonable import loads
from backend.server import wire
from backend.storage.files import NoSpace
from backend.storage.images import TooLarge
from backend.storage.queue import Duplicate, NotWaiting
from backend.storage.userdata import AlreadyThere

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LARGE_BODY = 100_000


class NotJson(BadInput):
    """The content type says that the body is something else."""


_STATUS: tuple[tuple[type[Problem], int], ...] = (
    (Duplicate, 409),
    (NotWaiting, 409),
    (AlreadyThere, 409),
    (NoSpace, 507),
    (TooLarge, 413),
    (MissingFile, 404),
    (Refused, 403),
    (NotJson, 415),
    (BadInput, 400),
    (BadFile, 422),
    (NotInstalled, 503),
    (OutOfMemory, 507),
    (Problem, 400),
)


def status_of(problem: Problem) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in _STATUS if isinstance(problem, kind))


def error_body(type: str, message: str, details: str = "", extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The published form of an error."""
    return {"error": {"type": type, "message": message, "details": details, "extra_info": dict(extra or {})}, "node_errors": {}}


def problem_reply(problem: Problem, status: int | None = None) -> web.Response:
    """An error as a reply."""
    about = problem.to_json()
    body = error_body(_snake(about["kind"]), problem.message, problem.hint, about["where"])
    return json_reply(body, status or status_of(problem))


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON."""
    return json_text(wire.dump(value), status, headers)


def json_text(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON that is text already."""
    return web.Response(body=text.encode(), status=status, content_type="application/json", charset="utf-8", headers=headers)


async def read_json(request: web.Request, empty: Any = None) -> Any:
    """The body as strict JSON. `empty` is the value of an empty body; None means that an empty body is an error.

    Raises BadInput, and NotJson for what the form of a foreign page could send. Large bodies are parsed in a thread, so that others are
    answered meanwhile.
    """
    body = await request.read()
    require_json(request, body)
    if not body.strip() and empty is not None:
        return empty
    if len(body) > LARGE_BODY:
        return await asyncio.to_thread(loads, body)
    return loads(body)


def require_json(request: web.Request, body: bytes) -> None:
    """Raises NotJson unless the body is sent as JSON.

    Browsers send three types across sites without asking first. They are fine only where the guard has seen that the page is our own;
    programs that say nothing of the type (curl -d and urllib say "form") bear none of the marks of a browser.
    """
    type = request.content_type
    if not body or type == "application/json" or type.endswith("+json"):
        return
    headers = request.headers
    own_page = "Origin" in headers or headers.get("Sec-Fetch-Site") == "same-origin"  # a foreign origin never gets here
    if own_page and type == "text/plain":
        return
    if type in ("application/x-www-form-urlencoded", "application/octet-stream") and not own_page and "Sec-Fetch-Mode" not in headers:
        return
    raise NotJson(f"The body is sent as {type}, not as JSON.", hint="Send the header Content-Type: application/json.")


async def read_object(request: web.Request, empty: Any = None) -> dict[str, Any]:
    """The body as a JSON object. Raises BadInput."""
    value = await read_json(request, empty)
    if not isinstance(value, dict):
        raise BadInput("The body must be a JSON object.", hint="Send {...} with the documented keys.")
    return value


def int_query(request: web.Request, name: str) -> int | None:
    """A whole number of the query, or None where it is absent. Raises BadInput."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        raise BadInput(f"The query value {name}={text[:40]!r} is not a whole number.", hint="Send an integer.") from None
    if abs(value) > 2**53:
        raise BadInput(f"The query value {name} is too large.", hint="Send a smaller integer.")
    return value


def flag_query(request: web.Request, name: str, default: bool = False) -> bool:
    """`true` or `1` of the query."""
    text = request.query.get(name)
    return default if text is None else text.lower() in ("true", "1")


def strings(value: Any, name: str) -> list[str]:
    """A JSON array of strings; null is none. Raises BadInput."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadInput(f"{name!r} must be an array of strings.", hint="Send job ids.")
    return value


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
