"""What this machine and this server are: /system_stats, health, memory. (Contract 1.2; health and memory are ours.)"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from backend.base.config import without_secrets
from backend.base.errors import Problem
from backend.server import machine
from backend.server.replies import json_reply
from backend.server.state import State, state_of

routes = web.RouteTableDef()
PROTOCOL_VERSION = "0.3.64"
FRONTEND_VERSION = "1.27.10"
TEMPLATES_VERSION = "0.1.95"
_ASK_S = 0.5
_FORWARD_S = 5.0
_FORWARD_EVERY_S = 5.0


@routes.get("/system_stats")
async def system_stats(request: web.Request) -> web.Response:
    state = state_of(request)
    total, free = machine.memory()
    versions = state.hello.get("versions", {})
    system = {
        "os": os.name,
        "ram_total": total,
        "ram_free": free,
        "comfyui_version": PROTOCOL_VERSION,
        "required_frontend_version": FRONTEND_VERSION,
        "installed_templates_version": None,
        "required_templates_version": TEMPLATES_VERSION,
        "python_version": sys.version,
        "pytorch_version": versions.get("torch", ""),
        "embedded_python": os.path.split(os.path.dirname(sys.executable))[-1] == "python_embeded",
        "argv": without_secrets(sys.argv),
    }
    told = {0: state.hello.get("device", {}), **state.devices}
    return json_reply({"system": system, "devices": [_device(state, number, said, total, free) for number, said in sorted(told.items())]})


def _device(state: State, number: int, said: Mapping[str, Any], ram_total: int, ram_free: int) -> dict[str, Any]:
    """A worker's device: what it said when it started, with the latest figures of its beats."""
    device = {"name": "cpu", "type": "cpu", "index": None, **said}
    live = state.beats.get(number, {}).get("device", {})
    figures = {name: live.get(name, device.get(name)) for name in ("vram_total", "vram_free", "torch_vram_total", "torch_vram_free")}
    if device["type"] == "cpu":
        figures = {"vram_total": ram_total, "vram_free": ram_free, "torch_vram_total": ram_total, "torch_vram_free": ram_free}
    return {"name": device["name"], "type": device["type"], "index": number or device["index"], **{k: v or 0 for k, v in figures.items()}}


@routes.get("/health/live")
async def live(request: web.Request) -> web.Response:
    """This process answers."""
    return json_reply({"live": True})


@routes.get("/health/ready")
async def ready(request: web.Request) -> web.Response:
    """Jobs would run now: the worker is up and its device has just computed something. 503 while it starts, restarts or cannot."""
    state = state_of(request)
    up = any(worker.ready.is_set() for worker in state.jobs.workers) and not state.stopping
    about: dict[str, Any] = {"ready": up, "queue_remaining": len(state.queue), "nodes": len(state.catalogue.registry)}
    if up and (problem := await _cannot_compute(state)):
        about |= {"ready": False, "problem": problem}
    return json_reply(about, 200 if about["ready"] else 503)


async def _cannot_compute(state: State) -> str:
    """Why the device cannot compute, or "". Asked at most every few seconds; a device that is busy with a job is watched by other means."""
    now = time.monotonic()
    if now - state.forward[0] > _FORWARD_EVERY_S:
        state.forward = (now, state.forward[1])  # who asks meanwhile gets the last answer
        problem = ""
        try:
            assert state.jobs.worker is not None
            await state.jobs.worker.call("forward", None, _FORWARD_S)
        except Problem as error:
            problem = "" if state.jobs.running and "did not answer" in str(error) else str(error)
        state.forward = (now, problem)
    return state.forward[1]


@routes.get("/memory")
async def memory_table(request: web.Request) -> web.Response:
    """What the worker holds on its device, and how much this process uses."""
    state = state_of(request)
    total, free = machine.memory()
    about: dict[str, Any] = {"ram_total": total, "ram_free": free, "device": state.beats.get(0, {}).get("device", {}), "worker": None}
    for number, worker in enumerate(state.jobs.workers):
        key = f"worker{number}" if number else "worker"
        try:
            about[key] = await worker.call("memory", None, _ASK_S)
        except Problem as problem:
            about[f"{key}_away"] = str(problem)
    return json_reply(about)
