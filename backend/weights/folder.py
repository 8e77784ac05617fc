"""Weights spread over a folder: one model's files in the diffusers layout, whole or in shards listed by an index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from backend.base.errors import BadFile, MissingFile
from backend.weights.file import Entry, WeightFile, bad
from backend.weights.mapped import Place

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = ("", ".fp16", ".bf16", ".fp32", ".non_ema")
EXTENSIONS = (".safetensors", ".bin")
_AT_ONCE = 8  # files opened side by side

Open = Callable[[Path], WeightFile]


class ShardedFile(WeightFile):
    """Several files seen as one. `index` maps each tensor name to the file that holds it."""

    def __init__(self, path: Path, index: dict[str, WeightFile]) -> None:
        self.path, self._index = path, index
        self.metadata = {}

    def __getitem__(self, key: str) -> Entry:
        return self._index[key][key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def tensor(self, key: str) -> Tensor:
        return self._index[key].tensor(key)

    def places(self, key: str) -> tuple[Place, ...]:
        return self._index[key].places(key)


class Values(WeightFile):
    """A few tensors that stand in no weight file, as one."""

    def __init__(self, path: Path, values: Mapping[str, Tensor]) -> None:
        self.path, self.metadata, self._values = path, {}, dict(values)

    def __getitem__(self, key: str) -> Entry:
        value = self._values[key]
        return Entry(tuple(value.shape), value.dtype, value.nbytes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def tensor(self, key: str) -> Tensor:
        return self._values[key]


def open_folder(folder: Path, open_file: Open) -> WeightFile:
    """The weights in `folder`: safetensors before .bin, full precision before variants, whole before sharded.

    Raises MissingFile when there are none, BadFile when an index does not fit its shards.
    """
    for extension in EXTENSIONS:
        for variant in VARIANTS:
            for stem in STEMS:
                whole = folder / f"{stem}{variant}{extension}"
                if whole.is_file():
                    return open_file(whole)
                for index in (folder / f"{stem}{extension}.index{variant}.json", folder / f"{stem}{variant}{extension}.index.json"):
                    if index.is_file():
                        return _open_shards(index, open_file)
    raise MissingFile(
        f"There are no weights in the folder {folder.name}.",
        hint=f"It should hold a file such as {STEMS[0]}.safetensors.",
        file=folder,
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a small file. Raises BadFile, MissingFile."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise MissingFile(f"There is no file {path.name} in {path.parent.name}.", hint="The folder is incomplete.", file=path) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path.name} is not valid JSON: {error}.", hint="Download it again.", file=path) from error
    if not isinstance(value, dict):
        raise bad(path, "it is not a JSON object")
    return value


def _open_shards(index: Path, open_file: Open) -> WeightFile:
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise bad(index, "it has no weight_map of tensor names to file names")
    names = sorted(set(table.values()))
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise bad(index, f"it names {name!r}, which is not a file beside it")
    with ThreadPoolExecutor(_AT_ONCE) as threads:  # on a disk that is cold or far away headers are waited for, not parsed
        files = dict(zip(names, threads.map(lambda name: open_file(index.parent / name), names), strict=True))
    for key, name in table.items():
        if key not in files[name]:
            raise bad(index, f"tensor {key!r} is not in {name}")
    return ShardedFile(index.parent, {key: files[name] for key, name in table.items()})
