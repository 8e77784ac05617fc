"""GGUF files: a header of facts and tensor places, then quantised data. Versions 2 and 3, little-endian.

Layout: magic, u32 version, u64 tensors, u64 facts; facts `text key, u32 type, value`; tensors `text name, u32 n, u64 sizes[n] (innermost
first), u32 type, u64 offset`; then data, aligned. A text is `u64 length, bytes`.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.weights.file import Entry, Listed, bad
from backend.weights.mapped import MappedFile, Place
from backend.weights.quant import blocks
from backend.weights.quant.packed import Packed

PLAIN: dict[int, torch.dtype] = {
    0: torch.float32,
    1: torch.float16,
    24: torch.int8,
    25: torch.int16,
    26: torch.int32,
    27: torch.int64,
    28: torch.float64,
    30: torch.bfloat16,
}
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_MOST = 1 << 20  # tensors or facts; no file has near as many
_MOST_DIMENSIONS = 8
_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."


class GgufFile(Listed):
    """An opened .gguf file. `tensor` gives numbers, `packed` the bits of a quantised tensor. Raises BadFile, OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = MappedFile(path)
        reader = _Reader(path, self._file.map, self._file.size)
        facts, infos, base = reader.read()
        self.metadata = {key: value for key, value in facts.items() if isinstance(value, str)}
        self._entries: dict[str, Entry] = {}
        self._places: dict[str, tuple[int, int, int]] = {}  # start, bytes, type
        for name, shape, kind, offset in infos:
            count = math.prod(shape)
            block = blocks.BLOCKS.get(kind)
            if block is None and kind not in PLAIN:
                raise bad(path, f"its tensor {name[:80]!r} is stored in the number format {kind}, which is not read", _OTHER)
            if block is not None and (not shape or shape[-1] % block.values):
                raise bad(path, f"the rows of its tensor {name[:80]!r} are no whole blocks of {block.name}")
            size = blocks.nbytes(block, shape) if block is not None else count * PLAIN[kind].itemsize
            start = base + offset
            if start + size > self._file.size:
                raise bad(path, f"its tensor {name[:80]!r} ends behind the end of the file")
            original = facts.get(_ORIGINAL_SHAPE + name)
            if isinstance(original, list) and math.prod(original) == count:
                shape = tuple(original)
            self._entries[name] = Entry(shape, PLAIN.get(kind, torch.float32), size)
            self._places[name] = (start, size, kind)

    def tensor(self, key: str) -> Tensor:
        packed = self.packed(key)
        if packed is not None:
            return packed.dense()
        start, _, kind = self._places[key]
        return self._file.view(start, self._entries[key].shape, PLAIN[kind])

    def packed(self, key: str) -> Packed | None:
        start, size, kind = self._places[key]
        block = blocks.BLOCKS.get(kind)
        if block is None:
            return None

        def unpack(parts: Any, shape: tuple[int, ...]) -> Tensor:
            return blocks.unpack(block, parts["blocks"], shape)

        raw = self._file.view(start, (size,), torch.uint8)
        return Packed(block.name, {"blocks": raw}, self._entries[key].shape, unpack)

    def places(self, key: str) -> tuple[Place, ...]:
        start, nbytes, _ = self._places[key]
        return (Place(self._file, start, nbytes),)


def read_facts(path: Path) -> dict[str, Any]:
    """Everything that the header says besides the tensors, lists too (a vocabulary, say). Raises BadFile, OSError."""
    file = MappedFile(path)
    return _Reader(path, file.map, file.size).read()[0]


_OTHER = "Use a file in one of " + ", ".join(b.name for b in blocks.BLOCKS.values()) + ", or a safetensors file."


class _Reader:
    """Walks the header; every length is checked before it is believed."""

    def __init__(self, path: Path, data: Any, size: int) -> None:
        self.path, self.data, self.size, self.at = path, data, size, 0

    def read(self) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...], int, int]], int]:
        """Facts, tensors (name, shape, type, offset) and where data begin."""
        if self._take(4) != b"GGUF":
            raise bad(self.path, "it does not begin like a GGUF file")
        version = self._number("I")
        if version not in (2, 3):
            raise bad(self.path, f"its version of the format is {version}; 2 and 3 are read", "Convert the model again with a newer tool.")
        tensors, count = self._count("tensors"), self._count("facts")
        facts: dict[str, Any] = {}
        for _ in range(count):
            key = self._text()
            facts[key] = self._value(self._number("I"))
        infos: list[tuple[str, tuple[int, ...], int, int]] = []
        seen: set[str] = set()
        for _ in range(tensors):
            name = self._text()
            n = self._number("I")
            if n > _MOST_DIMENSIONS or name in seen:
                raise bad(self.path, f"its header is damaged at the tensor {name[:80]!r}")
            seen.add(name)
            shape = tuple(reversed([self._number("Q") for _ in range(n)]))
            if math.prod(shape) > self.size * 8:
                raise bad(self.path, f"its tensor {name[:80]!r} claims the shape {list(shape)}, more than the file can hold")
            infos.append((name, shape, self._number("I"), self._number("Q")))
        align = facts.get("general.alignment", 32)
        if not isinstance(align, int) or not 0 < align <= 1 << 20:
            raise bad(self.path, "its alignment is no sensible number")
        return facts, infos, -(-self.at // align) * align

    def _take(self, n: int) -> bytes:
        if n > self.size - self.at:
            raise bad(self.path, "its GGUF header ends too early")
        self.at += n
        taken: bytes = self.data[self.at - n : self.at]
        return taken

    def _number(self, form: str) -> Any:
        return struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))[0]

    def _count(self, what: str) -> int:
        found: int = self._number("Q")
        if found > _MOST:
            raise bad(self.path, f"its header claims {found} {what}")
        return found

    def _text(self) -> str:
        return self._take(self._number("Q")).decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _TEXT:
            return self._text()
        if kind == _ARRAY:
            inner, count = self._number("I"), self._number("Q")
            if inner in _SCALARS:
                form = _SCALARS[inner]
                if count > self.size:
                    raise bad(self.path, "its GGUF header ends too early")
                return list(struct.unpack(f"<{count}{form}", self._take(count * struct.calcsize("<" + form))))
            if inner == _TEXT and count <= self.size:
                return [self._text() for _ in range(count)]
        raise bad(self.path, f"its header has a fact of the unknown type {kind}")
