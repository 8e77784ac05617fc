"""A machine for the pickles inside PyTorch files that cannot run code.

A pickle is a program. This one runs it with no names but the few that describe tensors, and each of those is replaced by a plain
description of ours. Anything else is refused by name before it is reached.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

STORAGES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
}
DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "double", "float", "half", "complex64"),
    *("int64", "int32", "int16", "int8", "uint8", "bool", "long", "int", "short"),
)


class BadPickle(Exception):
    """What is wrong with a pickle, before the file's name is known."""

    def __init__(self, text: str, hint: str = "The file is damaged or incomplete: download or export it again.") -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of values somewhere in the file."""

    key: str
    dtype: torch.dtype
    count: int

    def __setstate__(self, state: Any) -> None:
        raise BadPickle("it tries to change a description it was lent")


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor as the pickle describes it."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, state: Any) -> None:
        raise BadPickle("it tries to change a description it was lent")


class _Inert:
    """What a permitted name becomes. It can be called with plain values and nothing else; it has no state to change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise BadPickle("it tries to change a name it was lent")


class _Table(dict[Any, Any]):
    """Stands for collections.OrderedDict. State (torch hangs version numbers there) is ignored."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Foreign:
    """A training framework's object that checkpoints drag along; its class is never looked up and its content is dropped."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass


class _Parameters(dict[Any, Any]):
    """Stands for torch.nn.ParameterDict, in which the first textual inversion trainers kept their vectors."""

    def __setstate__(self, state: Any) -> None:
        held = state.get("_parameters") if isinstance(state, dict) else None
        if isinstance(held, dict):
            self.update(held)


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorRef:
    if not isinstance(storage, Storage):
        raise BadPickle("a tensor is described without a storage")
    return TensorRef(storage, storage.dtype, offset, tuple(shape), tuple(stride))


def _rebuild_v3(storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any) -> TensorRef:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise BadPickle("a tensor is described without a storage or dtype")
    return TensorRef(storage, dtype, offset, tuple(shape), tuple(stride))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _numpy_scalar(dtype: Any, raw: Any = b"") -> int | float:
    kinds = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "i1": "<b", "u1": "<B", "b1": "<?"}
    if not isinstance(dtype, _Dtype) or dtype.kind not in kinds or not isinstance(raw, bytes):
        raise BadPickle("it holds a numpy value of an unknown kind")
    try:
        (value,) = struct.unpack(kinds[dtype.kind], raw)
    except struct.error as error:
        raise BadPickle(f"it holds a damaged numpy value ({error})") from error
    return value  # type: ignore[no-any-return]


class _Dtype:
    """numpy.dtype by its two-letter kind; only what scalars need."""

    def __init__(self, kind: str, *_: Any) -> None:
        self.kind = str(kind).lstrip("<|=")

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            self.kind = "big-endian"


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise BadPickle("it asks for an unusual text encoding")
    return text.encode("latin1")


def _names() -> dict[tuple[str, str], Any]:
    """Every name a pickle may use, made anew for each file."""
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): _Table,
        ("torch.nn.modules.container", "ParameterDict"): _Parameters,
        ("torch._utils", "_rebuild_tensor"): _Inert(_rebuild),
        ("torch._utils", "_rebuild_tensor_v2"): _Inert(_rebuild),
        ("torch._utils", "_rebuild_tensor_v3"): _Inert(_rebuild_v3),
        ("torch._utils", "_rebuild_parameter"): _Inert(_parameter),
        ("torch._utils", "_rebuild_parameter_with_state"): _Inert(_parameter),
        ("torch", "Size"): _Inert(lambda items=(): tuple(items)),
        ("__builtin__", "set"): _Inert(lambda items=(): tuple(items)),
        ("builtins", "set"): _Inert(lambda items=(): tuple(items)),
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _Inert(_encode),
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[module, "scalar"] = _Inert(_numpy_scalar)
    for name, dtype in STORAGES.items():
        table["torch", name] = table["torch.storage", name] = dtype
    for name in DTYPES:
        table["torch", name] = getattr(torch, name)
    return table


class Machine(pickle._Unpickler):  # the Python one: its memo is a dict, so a huge index costs nothing
    """Runs a pickle with the names of `_names` only."""

    dispatch = {  # noqa: RUF012
        op: run
        for op, run in pickle._Unpickler.dispatch.items()
        if bytes([op]) not in (pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.BYTEARRAY8)
    }

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="utf-8")
        self._lent = _names()

    def find_class(self, module: str, name: str) -> Any:
        lent = self._lent.get((module, name))
        if lent is not None:
            return lent
        if module.split(".", 1)[0] in ("pytorch_lightning", "lightning", "lightning_fabric"):
            return _Foreign
        raise BadPickle(
            f"it asks for {module}.{name}, which is not part of a description of weights; nothing was run",
            "A weights file never needs this. Do not trust the file; look for a safetensors version of the model.",
        )

    def persistent_load(self, pid: Any) -> Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
            raise BadPickle("it refers to something that is not a storage")
        if type(pid[4]) is not int or not 0 <= pid[4] < 1 << 60 or (len(pid) > 5 and pid[5] is not None):
            raise BadPickle("it describes a storage in an unknown way")
        return Storage(str(pid[2]), pid[1], pid[4])


def run(file: Any) -> Any:
    try:
        return Machine(file).load()
    except BadPickle:
        raise
    except Exception as error:  # a damaged pickle fails in any way there is; each means that it is damaged
        raise BadPickle(f"its table of contents is damaged ({type(error).__name__}: {error})") from error


class Recorder(Machine):
    """Remembers the storages it met, whose sizes the old format keeps only in the pickle."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def persistent_load(self, pid: Any) -> Storage:
        storage = super().persistent_load(pid)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise BadPickle(f"its storage {storage.key} is described in two ways")
        return storage

    def load_tree(self) -> Any:
        try:
            return self.load()
        except BadPickle:
            raise
        except Exception as error:  # see run
            raise BadPickle(f"its table of contents is damaged ({type(error).__name__}: {error})") from error
