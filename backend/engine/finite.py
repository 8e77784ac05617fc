"""What is done when a node's net made numbers that are none: say where they began, try once in higher precision, and never hand them on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from backend.base.errors import BadFile

HINT = "A weight file may be damaged or made for other settings; see the log for the layer. --force-fp32 keeps everything in float32."


class Origin(Protocol):
    """Where they began."""

    def sentence(self) -> str: ...


class Checker(Protocol):
    """Knows tensors and nets, which the engine does not."""

    def begin(self) -> None: ...
    def is_sound(self, results: Any) -> bool: ...
    def origin(self, again: Callable[[], Any]) -> Origin | None: ...
    def in_float32(self, given: Mapping[str, Any]) -> dict[str, Any] | None: ...


def mended(checker: Checker, call: Callable[[Mapping[str, Any]], list[Any]], given: Mapping[str, Any], results: list[Any],
           say: Callable[[str], None]) -> list[Any]:  # fmt: skip
    """The results of a node, or of its second call with `given` in float32. Raises BadFile when they cannot be had without such numbers.

    A node that was given them is not at fault: its results pass, since the one that made them has been told of (or was a pack's own).
    """
    if checker.is_sound(results) or not checker.is_sound(list(given.values())):
        return results
    origin = checker.origin(lambda: call(given))
    where = origin.sentence() if origin is not None else "the node made values that are no numbers"
    better = checker.in_float32(given)
    if better is not None:
        say(f"NaN: {where}. The node is run once more in float32.")
        results = call(better)
        if checker.is_sound(results):
            return results
    raise BadFile(f"The result holds values that are no numbers (NaN): {where}.", hint=HINT)
