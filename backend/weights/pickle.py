"""PyTorch files (.ckpt, .pt, .pth, .bin) read without ever running what they contain (see unpickle.py).

Both formats of torch.save are read: zip archives (torch 1.6 and later) and the older stream. Tensors are views on the mapped file,
except where a zip entry is compressed.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.weights.file import Entry, WeightFile, bad
from backend.weights.mapped import MappedFile, Place
from backend.weights.unpickle import BadPickle, Recorder, Storage, TensorRef, run

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_PICKLE = 256 << 20
"""Bytes of the pickle itself, without tensors."""
MAX_DEPTH = 32


def is_zip(path: Path | str) -> bool:
    """Whether a file ends as zip archives do. The library raises for some that are damaged; those are archives too."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return True


class PickleFile(WeightFile):
    """An opened PyTorch file, nested tables flattened with dots. A table under `state_dict` stands for the whole file.

    `extras` holds the texts, numbers and lists beside the tensors. Raises BadFile for a damaged file and for one that asks for code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = MappedFile(path)
        try:
            layout = _ZipLayout(self._file) if is_zip(path) else _StreamLayout(self._file)
            tree = layout.tree
        except BadPickle as error:
            raise bad(path, str(error), error.hint) from error
        self._layout = layout
        if isinstance(tree, Mapping) and isinstance(tree.get("state_dict"), Mapping):
            tree = tree["state_dict"]
        self._refs: dict[str, TensorRef] = {}
        self.extras: dict[str, Any] = {}
        try:
            for key, leaf in _leaves(tree):
                self._add(key, leaf)
        except BadPickle as error:
            raise bad(path, str(error), error.hint) from error
        self.metadata = {key: value for key, value in self.extras.items() if isinstance(value, str)}

    def _add(self, key: str, leaf: Any) -> None:
        if key in self._refs or key in self.extras:
            raise BadPickle(f"the name {key!r} occurs twice")
        if isinstance(leaf, TensorRef):
            _check(key, leaf, self._layout.nbytes(leaf.storage))
            self._refs[key] = leaf
        else:
            self.extras[key] = leaf

    def __getitem__(self, key: str) -> Entry:
        ref = self._refs[key]
        return Entry(ref.shape, ref.dtype, math.prod(ref.shape) * ref.dtype.itemsize)

    def __iter__(self) -> Iterator[str]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def tensor(self, key: str) -> Tensor:
        ref = self._refs[key]
        try:
            raw = self._layout.raw(ref.storage)
        except (zipfile.BadZipFile, OSError, EOFError, BadPickle) as error:
            raise bad(self.path, f"the values of tensor {key!r} cannot be read ({error})") from error
        return raw.view(ref.dtype).as_strided(ref.shape, ref.stride, ref.offset)

    def places(self, key: str) -> tuple[Place, ...]:
        storage = self._refs[key].storage
        try:
            start = self._layout.start(storage)
        except BadPickle:  # `tensor` says what is wrong
            start = None
        return () if start is None else (Place(self._file, start, self._layout.nbytes(storage)),)


def _check(key: str, ref: TensorRef, nbytes: int) -> None:
    """Every element of the tensor must lie inside its storage."""
    size = ref.dtype.itemsize
    if len(ref.shape) != len(ref.stride):
        raise BadPickle(f"tensor {key!r} has {len(ref.shape)} dimensions but {len(ref.stride)} strides")
    if not all(type(n) is int and 0 <= n < 1 << 62 for n in (*ref.shape, *ref.stride, ref.offset)):
        raise BadPickle(f"shape, stride or offset of tensor {key!r} are not whole numbers")
    if nbytes != ref.storage.count * ref.storage.dtype.itemsize:
        claim = f"the storage of tensor {key!r} claims {ref.storage.count} values"
        raise BadPickle(f"{claim}, but {nbytes} bytes are there: the file is cut short")
    count = math.prod(ref.shape)
    last = ref.offset + sum((n - 1) * s for n, s in zip(ref.shape, ref.stride, strict=True))
    if count and ((last + 1) * size > nbytes or count * size > nbytes):
        raise BadPickle(f"tensor {key!r} reaches past the end of its storage")


def _leaves(tree: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise BadPickle(f"its tables are nested deeper than {MAX_DEPTH}")
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            name = key if isinstance(key, str) else repr(key)
            yield from _leaves(value, f"{prefix}.{name}" if prefix else name, depth + 1)
    elif isinstance(tree, list | tuple) and any(isinstance(value, Mapping | TensorRef) for value in tree):
        yield from _leaves({str(i): value for i, value in enumerate(tree)}, prefix, depth + 1)
    else:
        yield prefix, tree


class _ZipLayout:
    """torch.save since 1.6: an archive with NAME/data.pkl and one entry per storage."""

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        try:
            self._zip = zipfile.ZipFile(io.BufferedReader(_MapReader(file)))
            infos = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, EOFError, struct.error, NotImplementedError) as error:
            raise BadPickle(f"it is not a whole zip archive ({error})") from error
        index = next((i for i in infos if i.filename == "data.pkl" or i.filename.endswith("/data.pkl")), None)
        if index is None:
            raise BadPickle("it is a zip archive without data.pkl, so not a PyTorch file", "Choose a model file.")
        root = index.filename.removesuffix("data.pkl")
        self._infos = {i.filename.removeprefix(root + "data/"): i for i in infos if i.filename.startswith(root + "data/")}
        if index.file_size > MAX_PICKLE:
            raise BadPickle(f"its table of contents claims {index.file_size} bytes")
        if any(i.filename == root + "byteorder" and self._read(i) == b"big" for i in infos):
            raise BadPickle("its values are big-endian", "Save it again on a common computer.")
        self.tree = run(io.BytesIO(self._read(index)))

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        if info.file_size > 1100 * max(info.compress_size, 1):  # deflate cannot do better
            raise BadPickle(f"its entry {info.filename} claims an impossible size")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadPickle(f"its entry {info.filename} is compressed in an unusual way", "Save it again with torch.save.")
        try:
            return self._zip.read(info)
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, OSError, ValueError, zlib.error) as error:
            raise BadPickle(f"its entry {info.filename} is damaged ({error})") from error

    def nbytes(self, storage: Storage) -> int:
        info = self._infos.get(storage.key)
        if info is None:
            raise BadPickle(f"its storage {storage.key} is missing")
        return info.file_size

    def start(self, storage: Storage) -> int | None:
        """Where in the file the values begin, or None where they are compressed."""
        info = self._infos[storage.key]
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        local = self._file.map[info.header_offset : info.header_offset + 30]
        if len(local) < 30 or local[:4] != b"PK\x03\x04":
            raise BadPickle(f"its entry {info.filename} does not begin where the index says")
        name, extra = struct.unpack("<HH", local[26:30])
        start = info.header_offset + 30 + name + extra
        if start + info.file_size > self._file.size:
            raise BadPickle(f"its entry {info.filename} is cut short")
        return int(start)

    def raw(self, storage: Storage) -> Tensor:
        start = self.start(storage)
        info = self._infos[storage.key]
        if start is not None:
            return self._file.view(start, (storage.count,), storage.dtype)
        return torch.frombuffer(bytearray(self._read(info)), dtype=storage.dtype) if storage.count else torch.empty(0, dtype=storage.dtype)


class _StreamLayout:
    """torch.save before 1.6: magic, version, system, table, list of storages, then each storage as u64 count and values."""

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        reader = io.BufferedReader(_MapReader(file))
        if run(reader) != LEGACY_MAGIC:
            raise BadPickle("it is a pickle, but not a PyTorch file", "Choose a model file.")
        if run(reader) != LEGACY_PROTOCOL:
            raise BadPickle("it has an unknown version of the old PyTorch format")
        system = run(reader)
        if not isinstance(system, Mapping) or system.get("little_endian") is not True:
            raise BadPickle("its values are big-endian", "Save it again on a common computer.")
        recorder = Recorder(reader)
        self.tree = recorder.load_tree()
        keys = run(reader)
        if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
            raise BadPickle("its list of storages is damaged")
        self._spans: dict[str, tuple[int, int]] = {}
        position = reader.tell()
        for key in keys:
            storage = recorder.storages.get(key)
            head = file.map[position : position + 8]
            if storage is None or len(head) < 8:
                raise BadPickle(f"its storage {key} is missing: the file is cut short")
            (count,) = struct.unpack("<q", head)
            nbytes = count * storage.dtype.itemsize
            if count < 0 or position + 8 + nbytes > file.size:
                raise BadPickle(f"its storage {key} is cut short")
            self._spans[key] = (position + 8, nbytes)
            position += 8 + nbytes

    def nbytes(self, storage: Storage) -> int:
        if storage.key not in self._spans:
            raise BadPickle(f"its storage {storage.key} is missing")
        return self._spans[storage.key][1]

    def start(self, storage: Storage) -> int | None:
        return self._spans[storage.key][0]

    def raw(self, storage: Storage) -> Tensor:
        return self._file.view(self._spans[storage.key][0], (storage.count,), storage.dtype)


class _MapReader(io.RawIOBase):
    """A file object over the mapping, for zipfile and the unpickler."""

    def __init__(self, file: MappedFile) -> None:
        self._map, self._size, self._at = file.map, file.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        chunk = self._map[self._at : self._at + len(buffer)]
        buffer[: len(chunk)] = chunk
        self._at += len(chunk)
        return len(chunk)
