"""Who may ask: host names, origins, the token, and headers that keep answers harmless.

A server on this machine's loopback is reachable by every web page the person opens. Three rules stop such pages: the Host must be one of
ours (DNS rebinding), an Origin must be our own and never `null`, and browsers that say `cross-site` are refused.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from backend.base.config import Settings

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".ico", ".bmp", ".avif")
_NO_CACHE = (".js", ".css", ".html", ".mjs")
_NO_TOKEN = {"type": "no_token", "message": "A token is needed.", "details": "Send Authorization: Bearer …", "extra_info": {}}
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


def host_allowed(netloc: str, listen: Sequence[str]) -> bool:
    """A server that listens on loopback only answers to loopback names; others answer to any address and to any name."""
    host = host_of(netloc)
    if not all(is_loopback(address) for address in listen):
        return True
    return is_loopback(host) or host == socket.gethostname().lower()


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


def guard(settings: Settings) -> Middleware:
    """The middleware that refuses foreign pages and adds the cache and safety headers."""
    token = settings.token

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            response: web.StreamResponse = web.Response()
        elif settings.cors_origin is None and not _from_here(request, settings):
            return web.Response(status=403)
        elif token is not None and not _has_token(request, token):
            return web.json_response({"error": _NO_TOKEN}, status=401)
        else:
            response = await handler(request)
        if not response.prepared:
            _add_headers(request, response, settings)
            if token is not None and request.query.get("token"):  # it was right; the page's own requests then bear it by themselves
                response.set_cookie("token", token, httponly=True, samesite="Strict")
        return response

    return check


def _from_here(request: web.Request, settings: Settings) -> bool:
    headers = request.headers
    netloc = headers.get("Host", "")
    if not host_allowed(netloc, settings.listen):
        return False
    origin = headers.get("Origin")
    if origin is not None:
        return origin_allowed(origin, netloc)
    return headers.get("Sec-Fetch-Site") != "cross-site" or (headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET")


def _has_token(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    candidates = [given if scheme.lower() == "bearer" else "", request.query.get("token", ""), request.cookies.get("token", "")]
    return any(hmac.compare_digest(candidate.encode(), token.encode()) for candidate in candidates)


def _add_headers(request: web.Request, response: web.StreamResponse, settings: Settings) -> None:
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
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
