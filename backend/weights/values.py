"""What travels on wires, on disk: tensors and the plain values around them, bit for bit, as one safetensors file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadFile
from backend.weights.safetensors import SafetensorsFile
from backend.weights.save import NAMES, save_safetensors

_NOTE = "value"
_DEEPEST = 32


class NotPlain(ValueError):
    """The value holds something that a file cannot: an object, a tensor on another device."""


def save_value(path: Path, value: Any) -> int:
    """Write a value of tensors, lists, tuples, dictionaries, texts and finite numbers; the size of the file. Raises NotPlain, OSError."""
    tensors: dict[str, Tensor] = {}
    form = json.dumps(_form(value, tensors, 0))
    save_safetensors(path, tensors, {_NOTE: form})
    return path.stat().st_size


def load_value(path: Path) -> Any:
    """What `save_value` wrote; the tensors are copies. Raises BadFile, MissingFile."""
    file = SafetensorsFile(path)
    try:
        return _value(json.loads(file.metadata[_NOTE]), file, 0)
    except (KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise BadFile(f"{path.name} does not hold a result: {error}.", file=path) from error


def _form(value: Any, tensors: dict[str, Tensor], depth: int) -> list[Any]:
    """[kind, content]; tensors by their name in the file, with the order of dimensions in which they lie in memory."""
    kind = value.__class__
    if depth > _DEEPEST:
        raise NotPlain("nested too deep")
    if kind is Tensor:
        if value.device.type != "cpu" or value.layout is not torch.strided or value.dtype not in NAMES:
            raise NotPlain(f"a tensor of {value.dtype} on {value.device}")
        order = sorted(range(value.ndim), key=lambda i: -value.stride(i))
        name = str(len(tensors))
        tensors[name] = value.detach().permute(order)
        return ["tensor", name, order]
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return ["plain", value]
    if kind in (list, tuple):
        return [kind.__name__, [_form(v, tensors, depth + 1) for v in value]]
    if kind is dict and all(k.__class__ is str for k in value):
        return ["dict", {k: _form(v, tensors, depth + 1) for k, v in value.items()}]
    raise NotPlain(f"a {kind.__name__}")


def _value(form: Any, file: SafetensorsFile, depth: int) -> Any:
    kind, content = form[0], form[1]
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    if kind == "tensor":
        order = form[2]
        stored = file.tensor(content).clone()
        return stored.permute([order.index(i) for i in range(len(order))])
    if kind == "plain":
        return content
    if kind == "dict":
        return {k: _value(v, file, depth + 1) for k, v in content.items()}
    made = [_value(v, file, depth + 1) for v in content]
    if kind not in ("list", "tuple"):
        raise ValueError(f"unknown kind {kind!r}")
    return tuple(made) if kind == "tuple" else made
