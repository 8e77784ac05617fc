"""The timeline of a job in the form that chrome://tracing and Perfetto open (Trace Event Format: complete events, times in µs)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_LANES = {1: "queue", 2: "run", 3: "nodes", 4: "parts"}


def trace(about: Mapping[str, Any], story: Iterable[Mapping[str, Any]], types: Mapping[str, str]) -> dict[str, Any]:
    """`about`: the job's row (`created`, `finished`: seconds since 1970); `story`: its events; `types`: node id -> type.

    Nodes of a run take turns, so each begins where the one before it ended; what lies between is told as what it is, the engine's own time.
    """
    names = [{"name": "thread_name", "ph": "M", "pid": 1, "tid": lane, "args": {"name": name}} for lane, name in _LANES.items()]
    made: list[dict[str, Any]] = []
    created, finished = about["created"] * 1e6, (about["finished"] or about["created"]) * 1e6
    started, at, ended = None, 0.0, finished
    for event in story:
        kind = event["event"]
        if kind == "RunStarted":  # a job that was tried again begins anew
            started = at = event["time"] * 1e3
            made = []
        elif kind == "NodeFinished":
            length = event["seconds"] * 1e6
            node = str(event["node"])
            made.append(_span(f"{types.get(node.split('.')[0], '')} {node}".strip(), 3, at, length, node=node))
            at += length
        elif kind == "NodePart":
            made.append(
                _span(f"{event['name']} {event['what']}".strip(), 4, event["time"] * 1e3, event["seconds"] * 1e6, node=event["node"])
            )
        elif kind in ("RunSucceeded", "RunFailed", "RunInterrupted"):
            ended = event["time"] * 1e3
    if started is not None:
        made.insert(0, _span("waiting", 1, created, started - created))
        made.insert(1, _span("run", 2, started, ended - started, attempts=about["attempts"]))
        if about["finished"] is not None:
            made.append(_span("history", 2, ended, finished - ended))
    return {"traceEvents": names + made, "displayTimeUnit": "ms", "otherData": {"job": about["id"], "state": about["state"]}}


def _span(name: str, lane: int, at: float, length: float, **args: Any) -> dict[str, Any]:
    return {"name": name, "ph": "X", "pid": 1, "tid": lane, "ts": round(at), "dur": max(0, round(length)), "args": args}
