"""Where files are: kinds of model files, input, output, temp and user directories, and the one rule that keeps paths inside them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backend.base.errors import BadInput, MissingFile, Refused
from backend.base.numbers import NUMBERS

MODEL_EXTENSIONS = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})
FOLDERS_ONLY = frozenset({"folder"})
INDEXES = ("model_index.json", "modular_model_index.json")
"""Files that make a folder a model in the diffusers layout."""

# kind -> (directories below models/, extensions)
KINDS: Mapping[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "checkpoints": (("checkpoints",), MODEL_EXTENSIONS),
    "configs": (("configs",), frozenset({".yaml"})),
    "loras": (("loras",), MODEL_EXTENSIONS),
    "vae": (("vae",), MODEL_EXTENSIONS),
    "text_encoders": (("text_encoders", "clip"), MODEL_EXTENSIONS | {".gguf"}),
    "diffusion_models": (("unet", "diffusion_models"), MODEL_EXTENSIONS | {".gguf"}),
    "clip_vision": (("clip_vision",), MODEL_EXTENSIONS),
    "style_models": (("style_models",), MODEL_EXTENSIONS),
    "embeddings": (("embeddings",), MODEL_EXTENSIONS),
    "diffusers": (("diffusers",), FOLDERS_ONLY),
    "vae_approx": (("vae_approx",), MODEL_EXTENSIONS),
    "controlnet": (("controlnet", "t2i_adapter"), MODEL_EXTENSIONS),
    "gligen": (("gligen",), MODEL_EXTENSIONS),
    "upscale_models": (("upscale_models",), MODEL_EXTENSIONS),
    "hypernetworks": (("hypernetworks",), MODEL_EXTENSIONS),
    "ipadapter": (("ipadapter",), MODEL_EXTENSIONS),
    "photomaker": (("photomaker",), MODEL_EXTENSIONS),
    "classifiers": (("classifiers",), frozenset({""})),
    "model_patches": (("model_patches",), MODEL_EXTENSIONS),
    "audio_encoders": (("audio_encoders",), MODEL_EXTENSIONS),
    "background_removal": (("background_removal",), MODEL_EXTENSIONS),
    "geometry_estimation": (("geometry_estimation",), MODEL_EXTENSIONS),
}
ALIASES: Mapping[str, str] = {"unet": "diffusion_models", "clip": "text_encoders"}
SAVED_MODELS = ("checkpoints", "text_encoders", "vae", "diffusion_models", "loras")  # also looked for under output/
_SAVED_NAMES = {"text_encoders": "clip"}
Listing = tuple[list[str], dict[str, Path]]
_UNSAFE = re.compile(r'[<>:"|?*\\\x00-\x1f]')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
_PATTERN = re.compile("%[^%]*%")
_ANNOTATION = re.compile(r"^(.*?)\s*\[(input|output|temp)\]$", re.DOTALL)


def contain(root: str | Path, relative: str | Path) -> Path:
    """`relative` below `root`, with links followed. Raises Refused when it would leave `root`, BadInput when it is no path at all.

    Every path that comes from outside (a request, a workflow, an archive) passes through here.
    """
    text = str(relative)
    if "\0" in text or len(text) > 4096 or any(len(part.encode("utf-8", "replace")) > 255 for part in text.replace("\\", "/").split("/")):
        raise BadInput("The file name is not usable: it is too long or contains a NUL character.", hint="Use a shorter plain name.")
    home = Path(root).resolve()
    try:
        target = (home / text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise BadInput(f"The path {text!r:.120} cannot be resolved: {error}.") from error
    if target != home and not target.is_relative_to(home):
        raise Refused(f"The path {text!r:.120} leads outside {home.name}/.", hint="Name a file inside that directory.", file=text[:200])
    return target


def portable(piece: str) -> None:
    """Raises BadInput for a name (no path) that another system would read differently, or refuse."""
    ends_badly = piece not in ("", ".") and piece[-1] in ". "
    if _UNSAFE.search(piece) or _RESERVED.match(piece) or ends_badly or len(piece.encode("utf-8", "replace")) > 200:
        raise BadInput(f"The name {piece[:60]!r} is not usable on every system.", hint="Use letters, digits, spaces, - and _.")


@dataclass(slots=True)
class Kind:
    """One kind of model file: the directories searched, in order, and the extensions that count (empty: any; {"folder"}: directories)."""

    paths: list[Path]
    extensions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Save:
    """Where the next saved file goes: `folder / f"{name}_{counter:05}_.png"`; `subfolder` is relative to the output directory."""

    folder: Path
    name: str
    counter: int
    subfolder: str
    prefix: str


@dataclass
class Folders:
    """The directories of one installation. Listing is cached until a directory changes; nothing is read before it is asked for."""

    base: Path
    models: Path
    input: Path
    output: Path
    temp: Path
    user: Path
    kinds: dict[str, Kind] = field(default_factory=dict)
    custom_nodes: list[Path] = field(default_factory=list)
    _listed: dict[str, tuple[dict[str, float], tuple[tuple[Path, frozenset[str]], ...], Listing]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        base: Path,
        *,
        models: Path | None = None,
        input: Path | None = None,
        output: Path | None = None,
        temp: Path | None = None,
        user: Path | None = None,
        extra: Sequence[Path] = (),
    ) -> Folders:
        """The usual layout below `base`; `extra` are YAML files of more model directories (see `extra_model_paths.yaml.example`)."""
        models = models or base / "models"
        output = output or base / "output"
        made = cls(base, models, input or base / "input", output, temp or base / "temp", user or base / "user")
        for kind, (names, extensions) in KINDS.items():
            made.kinds[kind] = Kind([models / n for n in names], extensions)
        for kind in SAVED_MODELS:
            made.kinds[kind].paths.append(output / _SAVED_NAMES.get(kind, kind))
        made.custom_nodes.append(base / "custom_nodes")
        for file in extra:
            made.read_extra(file)
        return made

    def of_user(self, name: str) -> Folders:
        """The same models, with input, output and temp directories of a user's own."""
        return replace(self, input=self.input / name, output=self.output / name, temp=self.temp / name)

    def create(self) -> None:
        """Make the directories that are written to."""
        for directory in (self.input, self.output, self.temp, self.user):
            directory.mkdir(parents=True, exist_ok=True)

    def directory(self, type: str) -> Path:
        """The directory of a file type "input" | "output" | "temp". Raises BadInput for another word."""
        if type not in ("input", "output", "temp"):
            raise BadInput(f"There is no directory type {type!r:.60}.", hint="Use input, output or temp.")
        found: Path = getattr(self, type)
        return found

    def kind(self, name: str) -> Kind:
        """The kind of that name or alias. Raises BadInput for an unknown one."""
        found = self.kinds.get(ALIASES.get(name, name))
        if found is None:
            raise BadInput(f"There is no kind of model file named {name!r:.80}.", hint=f"Known kinds: {', '.join(sorted(self.kinds))}.")
        return found

    def add(self, kind: str, path: str | Path, *, first: bool = False, extensions: Iterable[str] | None = None) -> None:
        """Search `path` too. An unknown kind is created and accepts any file unless `extensions` says otherwise."""
        kind = ALIASES.get(kind, kind)
        entry = self.kinds.setdefault(kind, Kind([], frozenset(extensions or ())))
        where = Path(path)
        if where in entry.paths:
            if not first:
                return
            entry.paths.remove(where)
        entry.paths.insert(0 if first else len(entry.paths), where)

    def list(self, kind: str) -> list[str]:
        """Relative names of the files of a kind, sorted, subfolders included. Raises BadInput for an unknown kind."""
        return list(self._scan(kind)[0])

    def find(self, kind: str, name: str) -> Path | None:
        """The file of that relative name in the first directory that has it, or None. Never a file outside the directories."""
        entry = self.kind(kind)
        for root in entry.paths:
            try:
                path = root / name
                if "\0" in name or ".." in Path(name).parts or Path(name).is_absolute():
                    return None
                if path.is_dir() if entry.extensions == FOLDERS_ONLY else path.is_file():
                    return path
            except (OSError, ValueError):
                continue
        return None

    def find_or_raise(self, kind: str, name: str) -> Path:
        """Like `find`. Raises MissingFile naming the directories that were searched."""
        found = self.find(kind, name)
        if found is None:
            searched = ", ".join(str(p) for p in self.kind(kind).paths)
            raise MissingFile(f"There is no {kind} file named {name!r:.200}.", hint=f"Put it into one of: {searched}.", file=name)
        return found

    def _scan(self, name: str) -> Listing:
        entry = self.kind(name)
        key = ALIASES.get(name, name)
        roots = tuple((p, entry.extensions) for p in entry.paths)
        known = self._listed.get(key)
        if known is not None and known[1] == roots and _unchanged(known[0]):
            return known[2]
        stamps: dict[str, float] = {}
        files: dict[str, Path] = {}
        for root in entry.paths:
            for relative, path in _walk(root, entry.extensions, stamps):
                files.setdefault(relative, path)
        names = sorted(files)
        self._listed[key] = (stamps, roots, (names, files))
        return names, files

    def annotated(self, name: str, default: str = "input") -> tuple[str, str]:
        """ "x.png [output]" -> ("x.png", "output"); without annotation the type is `default`."""
        match = _ANNOTATION.match(name)
        return (match[1], match[2]) if match else (name, default)

    def resolve(self, name: str, default: str = "input") -> Path:
        """The file an annotated name means. Raises Refused when it leaves its directory, MissingFile when it is not there."""
        plain, type = self.annotated(name, default)
        path = contain(self.directory(type), plain)
        if not path.is_file():
            raise MissingFile(f"There is no file {plain!r:.200} in {type}/.", hint="Upload it, or choose another file.", file=plain[:200])
        return path

    def read_extra(self, file: Path) -> None:
        """Add the directories a YAML file lists (sections of `kind: path` with optional `base_path` and `is_default`).

        Raises MissingFile, BadFile.
        """
        for section in _sections(file):
            root = _expand(str(section.get("base_path") or ""), file.parent)
            first = bool(section.get("is_default", False))
            for kind, value in section.items():
                if kind in ("base_path", "is_default") or not isinstance(value, str):
                    continue
                for line in filter(None, (part.strip() for part in value.split("\n"))):
                    path = _expand(line, root)
                    if kind == "custom_nodes":
                        self.custom_nodes.insert(0 if first else len(self.custom_nodes), path)
                    else:
                        self.add(kind, path, first=first)


def _expand(text: str, root: Path) -> Path:
    return Path(os.path.normpath(root.absolute() / os.path.expandvars(os.path.expanduser(text))))


def _sections(file: Path) -> list[dict[str, Any]]:
    import yaml  # only needed by those who have such a file

    from backend.base.errors import BadFile

    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise MissingFile(f"There is no file {file}.", hint="Check --extra-model-paths-config.", file=file) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadFile(f"{file.name} is not YAML: {error}.", hint="Correct the file or start without it.", file=file) from error
    if content is None:
        return []
    if not isinstance(content, dict):
        raise BadFile(f"{file.name} must consist of named sections.", hint="See the example in docs.", file=file)
    return [s for s in content.values() if isinstance(s, dict)]


def _unchanged(stamps: Mapping[str, float]) -> bool:
    return all(_stamp(path) == stamp for path, stamp in stamps.items())


def _stamp(path: str | Path) -> float:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1.0


def _walk(root: Path, extensions: frozenset[str], stamps: dict[str, float]) -> Iterable[tuple[str, Path]]:
    """Files below root as (relative name, path). Follows links, enters each real directory once, skips .git; notes mtimes in `stamps`."""
    stack = [("", str(root))]
    entered: set[str] = set()
    while stack:
        relative, directory = stack.pop()
        real = os.path.realpath(directory)
        if real in entered:
            continue
        entered.add(real)
        stamps[directory] = _stamp(directory)
        try:
            entries = list(os.scandir(directory))
        except OSError:  # not there, or not ours to read: nothing to list
            continue
        if extensions == FOLDERS_ONLY and any(e.name in INDEXES for e in entries):
            if relative:
                yield relative, Path(directory)
            continue
        for entry in entries:
            name = os.path.join(relative, entry.name)
            if entry.is_dir():
                if entry.name != ".git":
                    stack.append((name, entry.path))
            elif extensions != FOLDERS_ONLY and (not extensions or os.path.splitext(entry.name)[1].lower() in extensions):
                yield name, Path(entry.path)


def expand_prefix(prefix: str, width: int = 0, height: int = 0, now: time.struct_time | None = None) -> str:
    """Replace %width% %height% %year% %month% %day% %hour% %minute% %second%; other patterns stay."""
    if "%" not in prefix:
        return prefix
    t = now or time.localtime()
    for word, value in (
        ("%width%", str(width)),
        ("%height%", str(height)),
        ("%year%", str(t.tm_year)),
        ("%month%", f"{t.tm_mon:02}"),
        ("%day%", f"{t.tm_mday:02}"),
        ("%hour%", f"{t.tm_hour:02}"),
        ("%minute%", f"{t.tm_min:02}"),
        ("%second%", f"{t.tm_sec:02}"),
    ):
        prefix = prefix.replace(word, value)
    return prefix


def split_prefix(prefix: str, directory: Path) -> tuple[Path, str, str]:
    """The folder, the part before and the name of the files `prefix` means in `directory`; makes nothing.

    Raises Refused when it leads out of the directory or names no file, BadInput when it is no path at all.
    """
    head, name = os.path.split(os.path.normpath(prefix))
    folder = contain(directory, head)
    contain(folder, name)
    for piece in _PATTERN.sub("x", prefix).split("/"):
        portable(piece.rstrip(". "))  # a counter follows, so a dot is not at the end
    if name in ("", ".", ".."):
        hint = "Use a plain name such as portraits/anna."
        raise Refused(f"The file name prefix {prefix!r:.120} names no file.", hint=hint, input="filename_prefix")
    return folder, head, name


def next_save(prefix: str, directory: Path, width: int = 0, height: int = 0, count: int = 1) -> Save:
    """Name the next `count` files of `prefix` in `directory`, making its subfolder. Raises Refused when the prefix leads out of it.

    The counter is one more than the highest among files whose text before the counter equals `name_` (as the file system compares names).
    """
    expanded = expand_prefix(prefix, width, height)
    folder, head, name = split_prefix(expanded, directory)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = os.path.normcase(name) + "_"
    highest = 0
    names = os.listdir(folder)  # there may be very many
    if os.path.normcase("A") != "A":
        names = [os.path.normcase(entry) for entry in names]
    for entry in names:
        if not entry.startswith(wanted):
            continue
        digits = entry[len(wanted) :].split("_", 1)[0].split(".", 1)[0]
        if digits.isascii() and digits.isdigit() and len(digits) < 19:
            highest = max(highest, int(digits))
    subfolder = "" if head in ("", ".") else head
    return Save(folder, name, NUMBERS.take(folder, name, highest + 1, count), subfolder, expanded)
