"""Strict JSON: what comes in is finite, unambiguous and shallow; what goes out is valid JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from backend.base.errors import BadInput

MAX_DEPTH = 200


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise BadInput(f"The JSON object has the key {twice!r:.80} more than once.", hint="Each key may appear once.")
    return made


def _constant(text: str) -> Any:
    raise BadInput(f"The JSON contains {text}, which is not a JSON number.", hint="Send a finite number.")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadInput(f"The JSON number {text[:40]} is too large.", hint="Send a number below 1.8e308.")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
_SIMPLE = frozenset({str, int, bool, type(None)})
_LOOKED_INTO = frozenset({dict, list, float})
_PLAIN = json.JSONDecoder(parse_constant=_constant)
_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def depth_exceeds(value: Any, limit: int) -> bool:
    """Whether containers are nested deeper than `limit`. Looks at one level at a time, so it needs no stack."""
    level = [value] if value.__class__ is dict or value.__class__ is list else []
    for _ in range(limit):
        if not level:
            return False
        level = [v for c in level for v in (c.values() if c.__class__ is dict else c) if v.__class__ is dict or v.__class__ is list]
    return bool(level)


def _decode_carefully(source: str) -> Any:
    value = _DECODER.decode(source)
    if depth_exceeds(value, MAX_DEPTH):
        raise _too_deep()
    return value


def _decode(source: str) -> Any:
    """The value of a text. Raises BadInput as `loads` does.

    The careful decoder calls Python code for every object and float. Most texts need it not: where every colon outside a text follows a
    quote directly and there are as many `":` as keys in the result, no key was there twice (a text that contains `":` only makes the
    first number larger).
    """
    if " :" in source or "\n:" in source or "\t:" in source or "\r:" in source:
        return _decode_carefully(source)
    value = _PLAIN.decode(source)
    level: list[Any] = [value] if value.__class__ is dict or value.__class__ is list else []
    keys = 0
    for _ in range(MAX_DEPTH):
        if not level:
            break
        keys += sum([len(c) for c in level if c.__class__ is dict])
        inside = [v for c in level for v in (c.values() if c.__class__ is dict else c) if v.__class__ in _LOOKED_INTO]
        floats = [v for v in inside if v.__class__ is float]
        if floats:
            if math.isinf(max(floats)) or math.isinf(min(floats)):
                return _decode_carefully(source)
            inside = [v for v in inside if v.__class__ is not float]
        level = inside
    if level:
        raise _too_deep()
    return value if keys == source.count('":') and value.__class__ is not float else _decode_carefully(source)


def _too_deep() -> BadInput:
    return BadInput(f"The JSON is nested deeper than {MAX_DEPTH} levels.", hint="Send a flatter document.")


def loads(text: str | bytes | bytearray) -> Any:
    """Parse JSON. Raises BadInput for malformed text, NaN and infinities, duplicate keys, lone surrogates and nesting deeper than 200."""
    try:
        source = text if isinstance(text, str) else bytes(text).decode("utf-8-sig")
        value = _decode(source)
    except UnicodeDecodeError as error:
        raise BadInput(f"The text is not UTF-8: {error.reason} at byte {error.start}.", hint="Send JSON encoded as UTF-8.") from error
    except RecursionError as error:
        raise _too_deep() from error
    except json.JSONDecodeError as error:
        raise BadInput(f"The text is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise BadInput(f"The JSON contains a number that cannot be read: {error}.") from error
    if "\\ud" in source or "\\uD" in source:
        try:
            _ENCODER.encode(value).encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadInput("The JSON contains half of a surrogate pair.", hint="Send complete Unicode characters.") from error
    return value


def dumps(value: Any) -> str:
    """Compact JSON text that can be sent: halves of surrogate pairs (from odd file names) become U+FFFD.

    Raises ValueError for NaN and infinities, TypeError for what is not plain data (see `plain`).
    """
    text = _ENCODER.encode(value)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def plain(value: Any, depth: int = 20) -> Any:
    """Whatever a node produced, as data that `dumps` accepts: tuples and sets become lists, NaN and infinities None, the rest its text.

    Numbers of other libraries (they have `item`) become Python numbers. Nothing raises; deeper than `depth` becomes text.
    """
    kind = value.__class__
    if kind in _SIMPLE:
        return value
    if kind is dict and depth > 0:  # the common kinds first: descriptions of thousands of nodes go through here as a worker starts
        return {k if k.__class__ is str else str(k): v if v.__class__ in _SIMPLE else plain(v, depth - 1) for k, v in value.items()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if depth > 0:
        if isinstance(value, Mapping):
            return {str(k): plain(v, depth - 1) for k, v in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [v if v.__class__ in _SIMPLE else plain(v, depth - 1) for v in value]
    if isinstance(value, PurePath):
        return str(value)
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return plain(item(), 0)
    return _text(value)


def _text(value: Any) -> str:
    """A short description: shapes instead of numbers for tensors and arrays."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__}{list(shape)!r:.100}"
    try:
        return str(value)[:1000]
    except Exception as error:  # noqa: BLE001 - foreign __str__ may raise anything; the type name is the answer then
        return f"<{type(value).__name__}: {type(error).__name__} in its text>"
