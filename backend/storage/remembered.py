"""What was measured once and is to be known ever after: a small table in a JSON file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from backend.base.errors import Problem
from backend.storage.files import atomic

V = TypeVar("V")


class Remembered(Mapping[str, V]):
    """Values by name, in the JSON file `path` where one is given.

    `read` makes a value of what the file has, and raises ValueError, TypeError, KeyError or AttributeError for one that is broken; `form`
    is the other way. A file or an entry that is damaged is measured anew, and one that cannot be written is gone without. Only the newest
    `most` are kept.
    """

    def __init__(
        self, path: Path | None, read: Callable[[Any], V], form: Callable[[V], Any] = lambda value: value, most: int = 1000
    ) -> None:
        self._path, self._read, self._form, self._most = path, read, form, most
        self._values: dict[str, V] = self._stored()

    def __getitem__(self, name: str) -> V:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def put(self, name: str, value: V, save: bool = True) -> None:
        """Keep a value; with `save` in the file too, beside what other processes have put there."""
        self._values.pop(name, None)
        self._values[name] = value
        if save and self._path is not None:
            self._values = dict(list({**self._stored(), **self._values}.items())[-self._most :])
            with contextlib.suppress(Problem), atomic(self._path) as file:
                file.write(json.dumps({name: self._form(value) for name, value in self._values.items()}).encode())

    def _stored(self) -> dict[str, V]:
        found: dict[str, V] = {}
        if self._path is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
                for name, value in json.loads(self._path.read_text(encoding="utf-8")).items():
                    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                        found[name] = self._read(value)
        return found
