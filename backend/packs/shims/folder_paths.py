"""`folder_paths`: the directories of this installation under the names packs use."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from backend.base.paths import ALIASES, FOLDERS_ONLY, MODEL_EXTENSIONS, Kind, next_save
from backend.packs.host import HOST

supported_pt_extensions: set[str] = set(MODEL_EXTENSIONS)
extension_mimetypes_cache: dict[str, str] = {"webp": "image", "fbx": "model"}


def _folders() -> Any:
    return HOST.services.folders


class _Paths(list):
    """The directories of a kind as text; what is added here is searched from then on."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(str(p) for p in kind.paths)
        self._kind = kind

    def _write(self) -> None:
        self._kind.paths[:] = [Path(str(p)) for p in self]

    def append(self, item: Any) -> None:
        super().append(item)
        self._write()

    def insert(self, at: Any, item: Any) -> None:
        super().insert(at, item)
        self._write()

    def extend(self, items: Any) -> None:
        super().extend(items)
        self._write()

    def remove(self, item: Any) -> None:
        super().remove(item)
        self._write()

    def __iadd__(self, items: Any) -> _Paths:
        self.extend(items)
        return self

    def __setitem__(self, at: Any, item: Any) -> None:
        super().__setitem__(at, item)
        self._write()


class _Extensions(set):
    """The extensions of a kind; additions count from then on."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind.extensions)
        self._kind = kind

    def _write(self) -> None:
        self._kind.extensions = frozenset(self)

    def add(self, item: Any) -> None:
        super().add(item)
        self._write()

    def update(self, *items: Any) -> None:
        super().update(*items)
        self._write()

    def discard(self, item: Any) -> None:
        super().discard(item)
        self._write()

    def __ior__(self, items: Any) -> _Extensions:
        self.update(items)
        return self


class _Kinds(MutableMapping):
    """`folder_names_and_paths`: kind -> (list of directories, set of extensions). Packs assign tuples, lists and sets of any sort."""

    def _kind(self, name: str) -> Kind:
        if name == "custom_nodes":
            return Kind(_folders().custom_nodes, frozenset())
        kinds = _folders().kinds
        found = kinds.get(ALIASES.get(name, name))
        if found is None:
            raise KeyError(name)
        return found

    def __getitem__(self, name: str) -> tuple[Any, Any]:
        kind = self._kind(name)
        return _Paths(kind), _Extensions(kind)

    def __setitem__(self, name: str, value: Any) -> None:
        paths, extensions = (tuple(value) + ((),))[:2]
        paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        extensions = [extensions] if isinstance(extensions, str) else extensions
        _folders().kinds[ALIASES.get(name, name)] = Kind([Path(str(p)) for p in paths], frozenset(extensions or ()))

    def __delitem__(self, name: str) -> None:
        del _folders().kinds[ALIASES.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        return iter([*_folders().kinds, "custom_nodes"])

    def __len__(self) -> int:
        return len(_folders().kinds) + 1

    def __contains__(self, name: object) -> bool:
        return name == "custom_nodes" or (isinstance(name, str) and ALIASES.get(name, name) in _folders().kinds)

    def copy(self) -> dict[str, Any]:
        return dict(self)


folder_names_and_paths = _Kinds()


class _CacheHelper:
    """Listings are cached by the directories' times of change here; entering the helper changes nothing."""

    def __init__(self) -> None:
        self.cache: dict[str, Any] = {}
        self.active = False

    def get(self, key: str, default: Any = None) -> Any:
        return self.cache.get(key, default)

    def set(self, key: str, value: Any) -> None:
        self.cache[key] = value

    def clear(self) -> None:
        self.cache.clear()

    def __enter__(self) -> _CacheHelper:
        self.active = True
        return self

    def __exit__(self, *error: object) -> None:
        self.active = False
        self.clear()


cache_helper = _CacheHelper()
filename_list_cache: dict[str, Any] = {}

_DIRECTORIES = {
    "models_dir": "models",
    "base_path": "base",
    "output_directory": "output",
    "input_directory": "input",
    "temp_directory": "temp",
    "user_directory": "user",
}


def __getattr__(name: str) -> Any:
    if name in _DIRECTORIES:
        return str(getattr(_folders(), _DIRECTORIES[name]))
    if name == "__file__":
        return str(_folders().base / "folder_paths.py")
    if not name.startswith("__"):
        HOST.want(f"folder_paths.{name}")
    raise AttributeError(f"module 'folder_paths' has no attribute {name!r}", name=name)


def map_legacy(folder_name: str) -> str:
    return ALIASES.get(folder_name, folder_name)


def get_output_directory() -> str:
    return str(_folders().output)


def get_input_directory() -> str:
    return str(_folders().input)


def get_temp_directory() -> str:
    return str(_folders().temp)


def get_user_directory() -> str:
    return str(_folders().user)


def set_output_directory(path: str) -> None:
    _folders().output = Path(path)


def set_input_directory(path: str) -> None:
    _folders().input = Path(path)


def set_temp_directory(path: str) -> None:
    _folders().temp = Path(path)


def set_user_directory(path: str) -> None:
    _folders().user = Path(path)


def get_directory_by_type(type_name: str) -> str | None:
    return str(getattr(_folders(), type_name)) if type_name in ("input", "output", "temp") else None


def get_input_subfolders() -> list[str]:
    root = _folders().input
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_dir()) if root.is_dir() else []


def get_folder_paths(folder_name: str) -> list[str]:
    return list(folder_names_and_paths[folder_name][0])


def get_filename_list(folder_name: str) -> list[str]:
    if folder_name not in folder_names_and_paths:
        raise KeyError(folder_name)
    if folder_name == "custom_nodes":
        return sorted({p.name for root in _folders().custom_nodes if root.is_dir() for p in root.iterdir()})
    return _folders().list(folder_name)


def get_full_path(folder_name: str, filename: str) -> str | None:
    """The file of that name; a folder of that name counts too, as packs keep models in folders."""
    if folder_name not in folder_names_and_paths:
        return None
    name = os.path.relpath(os.path.join("/", filename), "/")
    for root in folder_names_and_paths[folder_name][0]:
        path = os.path.join(root, name)
        if os.path.exists(path):
            return path
    return None


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    found = get_full_path(folder_name, filename)
    if found is None:
        raise FileNotFoundError(f"Model in folder '{folder_name}' with filename '{filename}' not found.")
    return found


def get_relative_path(full_path: str) -> tuple[str, str] | None:
    for kind in folder_names_and_paths:
        for root in get_folder_paths(kind):
            if os.path.abspath(full_path).startswith(os.path.abspath(root) + os.sep):
                return kind, os.path.relpath(full_path, root)
    return None


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    _folders().add(folder_name, full_folder_path, first=is_default)


def annotated_filepath(name: str) -> tuple[str, str | None]:
    plain, kind = _folders().annotated(name, "")
    return plain, get_directory_by_type(kind) if kind else None


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    plain, directory = annotated_filepath(name)
    return os.path.join(directory or default_dir or get_input_directory(), plain)


def exists_annotated_filepath(name: str) -> bool:
    return os.path.exists(get_annotated_filepath(name))


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    place = next_save(filename_prefix, Path(output_dir), image_width, image_height)
    return str(place.folder), place.name, place.counter, place.subfolder, place.prefix


def filter_files_extensions(files: Any, extensions: Any) -> list[str]:
    return sorted(f for f in files if not extensions or os.path.splitext(f)[-1].lower() in extensions or set(extensions) == FOLDERS_ONLY)


def filter_files_content_types(files: Any, content_types: Any) -> list[str]:
    kept = []
    for name in files:
        extension = name.rsplit(".", 1)[-1].lower()
        kind = extension_mimetypes_cache.get(extension)
        if kind is None:
            kind = extension_mimetypes_cache[extension] = (mimetypes.guess_type(name, strict=False)[0] or "").split("/")[0]
        if kind in content_types:
            kept.append(name)
    return kept


def recursive_search(directory: str, excluded_dir_names: Any = None) -> tuple[list[str], dict[str, float]]:
    excluded = set(excluded_dir_names or ())
    files: list[str] = []
    stamps: dict[str, float] = {}
    for at, directories, names in os.walk(directory, followlinks=True):
        directories[:] = [d for d in directories if d not in excluded]
        stamps[at] = os.path.getmtime(at)
        files += [os.path.relpath(os.path.join(at, n), directory) for n in names]
    return files, stamps


def is_system_user_enabled() -> bool:
    return False
