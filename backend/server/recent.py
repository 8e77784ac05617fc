"""What the last submissions led to, so that queueing nearly the same again costs nearly nothing.

Nothing is trusted that could have changed since: the verdict on a prompt is asked for again each time, and gives the answer at once where
neither the document nor anything outside it (files, node types) has changed.
"""

from __future__ import annotations

from typing import Any

from backend.graph.document import Prompt
from backend.graph.reader import Reader, Recent
from backend.graph.validate import Checked
from backend.server.wire import dump


class Submissions:
    """Used from the event loop only; what it returns is never written to."""

    def __init__(self) -> None:
        self._bodies: Recent[dict[str, Any]] = Recent()
        self._reader = Reader()
        self._prompts: tuple[Any, Prompt] | None = None
        self._text: tuple[Checked, str] | None = None

    def body(self, text: bytes) -> dict[str, Any] | None:
        """The parsed body of the same text, if it was sent lately."""
        return self._bodies.get(text)

    def keep(self, text: bytes, body: dict[str, Any]) -> None:
        """Remember a parsed body."""
        self._bodies.put(text, body)

    def prompt(self, graph: Any) -> Prompt:
        """The prompt of a document. Raises InvalidPrompt."""
        if self._prompts is None or self._prompts[0] is not graph:
            self._prompts = (graph, self._reader.parse(graph))
        return self._prompts[1]

    def text(self, checked: Checked) -> str:
        """The JSON text of a checked prompt."""
        if self._text is None or self._text[0] is not checked:
            self._text = (checked, dump(checked.prompt.to_json()))
        return self._text[1]
