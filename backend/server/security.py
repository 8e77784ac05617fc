"""Who may ask: host names, origins, the token, and headers that keep answers harmless.

A server on this machine's loopback is reachable by every web page the person opens. Three rules stop such pages: the Host must be one of
ours (DNS rebinding), an Origin must be our own and never `null`, and browsers that say `cross-site` are refused.
"""

from __future__ import annotations

import ipaddress
import math
import socket
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from backend.base.config import Settings
from backend.server.access import OWNER, Accounts, Allowance, Role
from backend.storage.audit import Audit

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".ico", ".bmp", ".avif")
_NO_CACHE = (".js", ".css", ".html", ".mjs")
_SAFE = ("GET", "HEAD", "OPTIONS")
_ADMIN_ONLY = ("/internal/", "/audit")
_ADMIN_CHANGES = ("/free", "/users", "/queue/pause", "/queue/resume", "/downloads", "/packs")
_HARMLESS = ("/settings", "/workflow/convert", "/workflow/models")
GUESSES = 20
"""Wrong tokens an address may send in a minute."""
IDENTITY = "identity"
_METHODS = "POST, GET, DELETE, PUT, PATCH, OPTIONS"


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(netloc: str) -> str:
    """Host name without port and brackets, lower case."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""


def host_allowed(netloc: str, listen: Sequence[str], allowed: Sequence[str] = ()) -> bool:
    """Loopback names, this machine's own name and the names in `allowed`; beyond loopback any address is fine too."""
    host = host_of(netloc)
    own = socket.gethostname().lower()
    if is_loopback(host) or host in (own, f"{own}.local") or host in allowed:
        return True
    return not all(is_loopback(address) for address in listen) and _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def origin_allowed(origin: str, netloc: str) -> bool:
    """An origin must be the very host and port that was asked."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    default = 443 if parts.scheme == "https" else 80
    asked = urlsplit(f"//{netloc}")
    return (parts.hostname.lower(), port or default) == ((asked.hostname or "").lower(), asked.port or default)


def role_needed(method: str, path: str) -> Role:
    """What a request takes: looking is for everybody, changing for editors, the machine for admins."""
    path = path.removeprefix("/api") or "/"
    if path.startswith(_ADMIN_ONLY):
        return Role.ADMIN
    if method in _SAFE or path.startswith(_HARMLESS):
        return Role.VIEWER
    return Role.ADMIN if path.startswith(_ADMIN_CHANGES) else Role.EDITOR


class Guard:
    """The middleware that decides whether a request is answered at all, and adds the cache and safety headers."""

    def __init__(self, settings: Settings, accounts: Accounts, audit: Audit, count: Callable[[str, int], None]) -> None:
        self._settings, self._accounts, self._audit, self._count = settings, accounts, audit, count
        self._hosts = tuple(name.lower() for name in settings.allowed_hosts)
        self._guesses = Allowance(GUESSES, 60.0)
        self._changes = Allowance(settings.rate_limit, 60.0) if settings.rate_limit > 0 else None

    def middleware(self) -> Middleware:
        """For aiohttp."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = web.Response() if request.method == "OPTIONS" else self._refusal(request)
            if response is None:
                answer = await handler(request)
            else:
                answer = response
            if not answer.prepared:
                _add_headers(request, answer, self._settings)
                self._remember(request, answer)
            self._count(request.method, answer.status)
            self._note(request, answer.status)
            return answer

        return check

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Why this request is not served, or None; then its identity is known."""
        settings = self._settings
        netloc = request.headers.get("Host", "")
        if settings.cors_origin is None:
            if not host_allowed(netloc, settings.listen, self._hosts):
                name = host_of(netloc)
                return _refused(
                    403, "host", f"This server does not answer to the name {name[:100]!r}.", f"Start it with --allow-host {name[:100]}."
                )
            if not _from_here(request, netloc):
                return web.Response(status=403)
        identity = OWNER
        if self._accounts:
            peer = request.remote or ""
            if (wait := self._guesses.wait(peer)) > 0:
                return _too_often("Too many wrong tokens came from this address.", wait)
            tokens = _tokens(request)
            found = next((i for t in tokens if (i := self._accounts.find(t)) is not None), None)
            if found is None:
                if tokens:
                    self._guesses.take(peer)
                return _refused(401, "no_token", "A token is needed.", "Send Authorization: Bearer …")
            identity = found
        request[IDENTITY] = identity
        needed = role_needed(request.method, request.path)
        if identity.role < needed:
            word = needed.name.lower()
            return _refused(403, "role", f"This needs the role {word}.", f"Ask for it, or use the token of an {word}.")
        if self._changes is not None and request.method not in _SAFE:
            who = identity.user or request.remote or ""
            if (wait := self._changes.wait(who)) > 0:
                return _too_often(f"More than {settings.rate_limit} changes in a minute.", wait)
            self._changes.take(who)
        return None

    def _remember(self, request: web.Request, answer: web.StreamResponse) -> None:
        """A token in the address becomes a cookie, so that the page's own requests bear it by themselves."""
        token = request.query.get("token")
        if token and request.get(IDENTITY) is not None and self._accounts and self._accounts.find(token) is not None:
            answer.set_cookie("token", token, httponly=True, samesite="Strict", secure=request.secure)

    def _note(self, request: web.Request, status: int) -> None:
        """Changes and refusals go into the audit log where people are told apart."""
        if not self._accounts or (request.method in _SAFE and status not in (401, 403, 429)):
            return
        identity = request.get(IDENTITY)
        who = None if identity is None else identity.user or "owner"
        self._audit.write(who=who, address=request.remote, method=request.method, path=request.path[:300], status=status)


def _refused(status: int, type: str, message: str, hint: str) -> web.Response:
    body = {"error": {"type": type, "message": message, "details": hint, "extra_info": {}}, "node_errors": {}}
    return web.json_response(body, status=status)


def _too_often(message: str, wait: float) -> web.Response:
    seconds = math.ceil(wait)
    response = _refused(429, "too_many_requests", message, f"Try again in {seconds} s.")
    response.headers["Retry-After"] = str(seconds)
    return response


def _from_here(request: web.Request, netloc: str) -> bool:
    headers = request.headers
    origin = headers.get("Origin")
    if origin is not None:
        return origin_allowed(origin, netloc)
    return headers.get("Sec-Fetch-Site") != "cross-site" or (headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET")


def _tokens(request: web.Request) -> list[str]:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    candidates = (given.strip() if scheme.lower() == "bearer" else "", request.query.get("token", ""), request.cookies.get("token", ""))
    return [candidate for candidate in candidates if candidate]


def _add_headers(request: web.Request, response: web.StreamResponse, settings: Settings) -> None:
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    if settings.cors_origin is not None:
        headers["Access-Control-Allow-Origin"] = settings.cors_origin
        headers["Access-Control-Allow-Methods"] = _METHODS
        headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization"
        headers["Access-Control-Allow-Credentials"] = "true"
    path = request.path
    if "Cache-Control" in headers:
        return
    name = path.rsplit("/", 1)[-1]
    if path == "/" or name.endswith(_NO_CACHE) or (name.startswith("index") and name.endswith(".json")):
        headers["Cache-Control"] = "no-cache"
    elif name.lower().endswith(_IMAGES):
        headers["Cache-Control"] = "public, max-age=3600" if response.status == 404 else "public, max-age=86400"
