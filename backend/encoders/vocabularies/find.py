"""Where the vocabulary of a weights' file is. Looking costs a few file system calls; reading happens at the first prompt."""

from __future__ import annotations

import functools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from backend.base.errors import BadFile, MissingFile, Problem
from backend.base.jsonable import loads
from backend.encoders.vocabularies import bytepairs, gguf, pieces
from backend.encoders.vocabularies.kinds import Kind
from backend.weights.file import WeightFile

INSIDE: Mapping[str, str] = {"spiece_model": "tokenizer.model", "tekken_model": "tekken.json"}
"""Ends of names of tensors of bytes in a weights' file -> the file that they are."""
NAMES = ("tokenizer.json", "tokenizer.model", "spiece.model", "tekken.json", "tekken_model.json", "vocab.json")
MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class Source:
    """A vocabulary that was found. Equal ones are read once."""

    kind: Kind
    where: str
    """In words, for messages."""
    mark: str
    """What tells its content from that of others."""
    read: Callable[[], Tokenizer]
    rows: int | None = None
    """Ids that the weights have vectors for."""

    def tokenizer(self) -> Tokenizer:
        """Read, or kept from before. It adds no tokens of its own if asked with `add_special_tokens=False`. Raises BadFile."""
        key = (self.kind.slug, self.mark, self.rows)
        with _LOCK:
            found = _KEPT.pop(key, None)
            _KEPT[key] = found = found or self._checked()
            while len(_KEPT) > _MOST_KEPT:
                _KEPT.popitem(last=False)
        return found

    def _checked(self) -> Tokenizer:
        try:
            tokenizer = self.read()
        except Problem:
            raise
        except Exception as error:  # the library raises bare ones
            text = f"The vocabulary of {self.kind.name} cannot be read from {self.where}: {error}."
            raise BadFile(text, hint="The file is damaged or of another kind; fetch it again.") from error
        most = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if self.rows is not None and most >= self.rows:
            raise BadFile(
                f"The vocabulary in {self.where} has {most + 1} tokens, but the weights have vectors for {self.rows}.",
                hint=f"It belongs to another model: put the {self.kind.wanted} of this {self.kind.name} model in its place.",
            )
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


_KEPT: OrderedDict[tuple[str, str, int | None], Tokenizer] = OrderedDict()
_LOCK = threading.Lock()
_MOST_KEPT = 6


def vocabulary(kind: Kind, file: WeightFile | None = None, rows: int | None = None, folder: Path | None = None) -> Source:
    """The vocabulary of `kind` for the weights in `file`: inside it, beside it, shipped, or in an installed package, in this order.

    `folder` is where the model's own lies, if it is known; `rows` is how many tokens the weights have vectors for: a larger vocabulary is
    refused when it is read. Raises MissingFile with a sentence on what to put where.
    """
    for found in _candidates(kind, file, rows, folder):
        return found
    name = file.path.name if file is not None else "This text encoder"
    home = _folder(file.path) if file is not None else None
    place = f"{file.path.stem}.{kind.wanted.split(' ')[0]}" if file is not None else kind.wanted
    package = f" Or install the package {kind.package[0]}, which has it." if kind.package else ""
    raise MissingFile(
        f"{name} needs the vocabulary of {kind.name}, which is neither in the file nor beside it and does not ship.",
        hint=f"Take {kind.wanted} from where the model was published and put it"
        f"{f' into {home.name}/' if home else ''} as {place} or {kind.slug}.{kind.wanted.split(' ')[0]}.{package}",
        file=file.path if file is not None else None,
    )


def _candidates(kind: Kind, file: WeightFile | None, rows: int | None, folder: Path | None) -> Iterator[Source]:
    if file is not None:
        yield from _inside(kind, file, rows)
    if folder is not None:
        yield from (_of_path(kind, folder / name, rows) for name in NAMES if _is_whole(folder / name))
    if file is not None:
        yield from _beside(kind, file.path, rows)
    if kind.shipped is not None:
        yield Source(kind, "the one that ships", "shipped", kind.shipped, rows)
    if kind.package is not None:
        path = _in_package(*kind.package)
        if path is not None:
            yield _of_path(kind, path, rows)


def _inside(kind: Kind, file: WeightFile, rows: int | None) -> Iterator[Source]:
    for ending, name in INSIDE.items():
        key = next((key for key in file if key == ending or key.endswith(f".{ending}")), None)
        if key is not None:
            read = functools.partial(_parse, kind, name, functools.partial(_bytes, file, key))
            yield Source(kind, file.path.name, f"{file.mark}#{key}", read, rows)
    if file.path.suffix.lower() == ".gguf" and file.path.is_file() and gguf.has_vocabulary(file.path):
        yield Source(kind, file.path.name, f"{file.mark}#gguf", functools.partial(gguf.from_file, file.path, kind), rows)


def _bytes(file: WeightFile, key: str) -> bytes:
    return file.tensor(key).cpu().contiguous().view(torch.uint8).numpy().tobytes()


def _beside(kind: Kind, path: Path, rows: int | None) -> Iterator[Source]:
    folder = _folder(path)
    stems = [folder / f"{stem}.{name}" for stem in (path.stem, kind.slug) for name in NAMES]
    own = [folder / path.stem / name for name in NAMES]
    sister = folder.parent / folder.name.replace("text_encoder", "tokenizer")
    diffusers = [sister / name for name in NAMES] if sister != folder else []
    model = [folder / name for name in NAMES] if (folder / "config.json").is_file() else []
    for candidate in (*stems, *own, *diffusers, *model):
        if _is_whole(candidate):
            yield _of_path(kind, candidate, rows)


def _is_whole(path: Path) -> bool:
    """Whether the file is there, and the list of merges too that byte pairs in `vocab.json` need."""
    return path.is_file() and (path.name != "vocab.json" or (path.parent / "merges.txt").is_file())


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _in_package(package: str, name: str) -> Path | None:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.as_posix().endswith(name))
    return next((path for path in paths if path.is_file()), None)


def _of_path(kind: Kind, path: Path, rows: int | None) -> Source:
    stat = path.stat()
    return Source(kind, path.name, f"{path}@{stat.st_size}-{stat.st_mtime_ns}", functools.partial(_read, kind, path), rows)


def _read(kind: Kind, path: Path) -> Tokenizer:
    if path.stat().st_size > MOST_BYTES:
        raise BadFile(f"{path.name} is no vocabulary: it is {path.stat().st_size >> 20} MB large.", file=path)
    if path.name.endswith("vocab.json"):
        known: Any = loads(path.read_text("utf-8"))
        lines = (path.parent / "merges.txt").read_text("utf-8").splitlines()
        return bytepairs.from_merges(lines, kind.split, kind.specials, {str(word): int(i) for word, i in known.items()})
    return _parse(kind, path.name, path.read_bytes)


def _parse(kind: Kind, name: str, data: Callable[[], bytes]) -> Tokenizer:
    """By the file's name, and for `.model` by content: Meta's are lines of tiktoken, all others SentencePiece."""
    content = data()
    if name.endswith("tokenizer.json"):
        return Tokenizer.from_buffer(content)
    if name.endswith(".json"):
        return bytepairs.from_tekken(content)
    if kind.split and re.match(rb"[A-Za-z0-9+/=]+ \d+\r?\n", content):
        return bytepairs.from_tiktoken(content, kind.split, kind.specials)
    return pieces.from_model(content)
