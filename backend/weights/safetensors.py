"""Safetensors files, read header first and strictly: what the header claims must hold before any tensor is touched.

Format: u64 little-endian header length, JSON header {name: {dtype, shape, data_offsets}}, then the data without holes.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.weights.file import Entry, Listed, bad
from backend.weights.mapped import MappedFile, Place

DTYPES: dict[str, torch.dtype] = {
    "C64": torch.complex64,
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

MAX_HEADER = 100_000_000
"""Bytes; the limit of the format."""


class SafetensorsFile(Listed):
    """An opened .safetensors file. Raises BadFile for one that breaks the format, OSError for one that cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        header, base = read_header(path)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise bad(path, "the header's __metadata__ is not a table of texts")
        self.metadata = metadata
        size = path.stat().st_size - base
        self._entries: dict[str, Entry] = {}
        self._starts: dict[str, int] = {}
        for key, raw in header.items():
            entry, start = _entry(path, key, raw, size)
            self._entries[key], self._starts[key] = entry, base + start
        _check_layout(path, sorted((self._starts[k] - base, e.nbytes, k) for k, e in self._entries.items()), size)
        self._file = MappedFile(path)

    def tensor(self, key: str) -> Tensor:
        entry = self._entries[key]
        return self._file.view(self._starts[key], entry.shape, entry.dtype)

    def places(self, key: str) -> tuple[Place, ...]:
        return (Place(self._file, self._starts[key], self._entries[key].nbytes),)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The parsed header and the offset at which data begin. Raises BadFile."""
    size = path.stat().st_size
    if size < 8:
        raise bad(path, f"{size} bytes are too few for a safetensors file")
    with path.open("rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        if length > MAX_HEADER:
            raise bad(path, f"its header claims {length} bytes, more than the {MAX_HEADER} that the format allows")
        if length > size - 8:
            raise bad(path, f"its header claims {length} bytes, but only {size - 8} follow")
        raw = f.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise bad(path, f"its header is not valid JSON ({error})") from error
    if not isinstance(header, dict):
        raise bad(path, "its header is not a JSON object")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} occurs twice")
    return table


def _entry(path: Path, key: str, raw: Any, size: int) -> tuple[Entry, int]:
    """One header entry, checked against itself and the `size` of the data. Raises BadFile naming the key."""
    if not isinstance(raw, dict) or set(raw) != {"dtype", "shape", "data_offsets"}:
        raise bad(path, f"the entry of tensor {key!r} does not consist of dtype, shape and data_offsets")
    dtype = DTYPES.get(raw["dtype"]) if isinstance(raw["dtype"], str) else None
    if dtype is None:
        raise bad(path, f"tensor {key!r} has the unknown dtype {raw['dtype']!r}", "Convert the file to a common dtype such as F16.")
    shape, offsets = raw["shape"], raw["data_offsets"]
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise bad(path, f"shape or data_offsets of tensor {key!r} are not lists of whole numbers")
    start, stop = offsets
    if start > stop:
        raise bad(path, f"tensor {key!r} ends before it starts")
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes != stop - start:
        raise bad(path, f"tensor {key!r} ({raw['dtype']} {shape}) takes {nbytes} bytes, but {stop - start} are given to it")
    if stop > size:
        raise bad(path, f"tensor {key!r} ends at byte {stop} of the data, but the file holds only {size}: it is cut short")
    return Entry(tuple(shape), dtype, nbytes), start


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in value)


def _check_layout(path: Path, spans: list[tuple[int, int, str]], size: int) -> None:
    """Tensors must follow each other without overlap or hole and fill the data. Raises BadFile."""
    end, before = 0, "the header"
    for start, nbytes, key in spans:
        if start < end:
            raise bad(path, f"tensors {before!r} and {key!r} overlap")
        if start > end:
            raise bad(path, f"there is a hole of {start - end} bytes between {before!r} and {key!r}")
        end, before = start + nbytes, key
    if end != size:
        raise bad(path, f"{size - end} bytes after the last tensor {before!r} belong to nothing")
