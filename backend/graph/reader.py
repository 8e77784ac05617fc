"""Reading prompts that are mostly the one before: a person changes a seed and queues again."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, Generic, TypeVar

from backend.graph.document import Prompt

T = TypeVar("T")
KEPT = 4
KEPT_BYTES = 8 << 20


class Recent(Generic[T]):
    """What was made of the last few texts, by the text itself. The newest stays whatever its size; older ones share `KEPT_BYTES`."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, T] = OrderedDict()

    def get(self, text: bytes) -> T | None:
        """What was made of exactly this text."""
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
        return found

    def put(self, text: bytes, made: T) -> None:
        """Remember it."""
        self._kept[text] = made
        self._kept.move_to_end(text)
        size = sum(map(len, self._kept))
        while len(self._kept) > 1 and (size > KEPT_BYTES or len(self._kept) > KEPT):
            oldest, _ = self._kept.popitem(last=False)
            size -= len(oldest)


class Reader:
    """Makes prompts of texts. The same text gives the same object, a similar one shares the nodes that are equal in both."""

    def __init__(self) -> None:
        self._recent: Recent[Prompt] = Recent()
        self._last: Prompt | None = None

    def read(self, text: bytes) -> Prompt:
        """The prompt of a JSON text. Raises ValueError for what is no JSON, InvalidPrompt for what is no prompt."""
        prompt = self._recent.get(text)
        if prompt is None:
            prompt = self.parse(json.loads(text))
            self._recent.put(text, prompt)
        self._last = prompt
        return prompt

    def parse(self, raw: Any) -> Prompt:
        """The prompt of a document. Raises InvalidPrompt."""
        prompt = self._last = Prompt.parse(raw, self._last)
        return prompt
