"""Write safetensors files: whole or not at all."""

from __future__ import annotations

import json
import math
import os
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from backend.weights.safetensors import DTYPES

NAMES = {dtype: name for name, dtype in DTYPES.items()}

Source = Tensor | Callable[[], Tensor]
"""A tensor, or a function that makes it when its turn to be written comes."""


def save_safetensors(
    path: Path,
    tensors: Mapping[str, Source],
    metadata: Mapping[str, str] | None = None,
    shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]] | None = None,
) -> None:
    """Write `tensors` to `path` through a temporary file beside it that is synced and renamed; on any error nothing is left behind.

    With functions as sources, `shapes` says shape and dtype of each beforehand, so that only one tensor is in memory at a time.
    Raises ValueError for a dtype the format lacks and for a source that breaks its promise.
    """
    facts = {key: _facts(key, source, shapes or {}) for key, source in tensors.items()}
    # Wide dtypes first keeps every tensor aligned for its own dtype.
    order = sorted(facts, key=lambda key: (-facts[key][1].itemsize, key))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for key in order:
        shape, dtype = facts[key]
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[key] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(struct.pack("<Q", len(raw)) + raw)
            for key in order:
                _write(f.write, key, tensors[key], facts[key])
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _facts(key: str, source: Source, shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> tuple[tuple[int, ...], torch.dtype]:
    shape, dtype = (tuple(source.shape), source.dtype) if isinstance(source, Tensor) else shapes[key]
    if dtype not in NAMES:
        raise ValueError(f"{key}: safetensors has no dtype for {dtype}")
    return shape, dtype


def _write(write: Callable[[memoryview], int], key: str, source: Source, facts: tuple[tuple[int, ...], torch.dtype]) -> None:
    tensor = source if isinstance(source, Tensor) else source()
    if (tuple(tensor.shape), tensor.dtype) != facts:
        raise ValueError(f"{key}: promised {facts}, got {tuple(tensor.shape)} {tensor.dtype}")
    if tensor.numel():
        write(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
