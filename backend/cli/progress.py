"""Progress of one job, drawn on a terminal as a bar and elsewhere as a line per node."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any, TextIO

WIDTH = 24


class ProgressBar:
    """Follows the events of a job. Every node counts the same; a node at work counts by its own progress."""

    def __init__(self, graph: Mapping[str, Any], out: TextIO) -> None:
        self.graph = graph
        self.out = out
        self.done: set[str] = set()
        self.shares: dict[str, float] = {}
        self.terminal = out.isatty()
        self.last = ""

    def see(self, type: str, data: Mapping[str, Any]) -> None:
        """Take in one event and redraw."""
        if type == "execution_cached":
            self.done.update(data["nodes"])
        elif type == "progress_state":
            self.done.update(id for id, node in data["nodes"].items() if node["state"] == "finished")
        elif type == "executing" and data.get("node") is not None:
            self.draw(self.title(data.get("display_node") or data["node"]))
        elif type == "progress" and data["max"]:
            self.shares[data["node"]] = data["value"] / data["max"]
            self.draw(self.title(data["node"]), f"{data['value']:g}/{data['max']:g}")

    def draw(self, what: str, detail: str = "") -> None:
        """The bar on a terminal; elsewhere the node's name, once."""
        if not self.terminal:
            if what != self.last:
                self.last = what
                print(what, file=self.out, flush=True)
            return
        part = min(1.0, self.fraction())
        bar = "█" * round(part * WIDTH)
        line = f"{bar:·<{WIDTH}} {part:4.0%} {what} {detail}"
        self.out.write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
        self.out.flush()

    def fraction(self) -> float:
        """How much of the graph is done, 0..1."""
        working = sum(share for id, share in self.shares.items() if id not in self.done)
        return (len(self.done & self.graph.keys()) + working) / max(1, len(self.graph))

    def title(self, id: str) -> str:
        """What a node is called."""
        node = self.graph.get(id) or {}
        return str((node.get("_meta") or {}).get("title") or node.get("class_type") or f"node {id}")

    def close(self) -> None:
        """Leave the line, so that what follows starts a fresh one."""
        if self.terminal:
            self.out.write("\r\x1b[K")
            self.out.flush()
