"""The files a file input offers, and whether a value names one of them."""

from __future__ import annotations

import mimetypes
import os
from typing import Protocol

from backend.base.errors import Problem
from backend.base.paths import Folders, split_prefix
from backend.graph.schema import Files

_PLACES = ("input", "output", "temp")
_MODELS = frozenset({".gltf", ".glb", ".obj", ".fbx", ".stl"})
_MEDIA = {
    ".webp": "image",
    ".avif": "image",
    ".webm": "video",
    ".mkv": "video",
    ".flac": "audio",
    ".opus": "audio",
    ".m4a": "audio",
    ".latent": "latent",
}


class Choices(Protocol):
    """What validation and description ask about file inputs."""

    def __call__(self, files: Files) -> list[str]:
        """The choices offered now."""

    def accepts(self, files: Files, value: str) -> bool:
        """Whether `value` names one of them, or a file that may be named though it is not offered."""

    def refusal(self, prefix: str) -> str:
        """Why files may not be saved under `prefix`, as a sentence; "" when they may."""


def medium(name: str) -> str:
    """ "image", "video", "audio", "model" or "" by extension."""
    extension = os.path.splitext(name)[1].lower()
    if extension in _MODELS:
        return "model"
    return _MEDIA.get(extension) or (mimetypes.guess_type(name, strict=False)[0] or "").split("/")[0]


class FolderChoices:
    """File choices from the directories of an installation."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._sets: dict[Files, tuple[list[str], frozenset[str]]] = {}

    def __call__(self, files: Files) -> list[str]:
        if files.kind in _PLACES:
            names = self._top_level(files)
        else:
            names = self._folders.list(files.kind) if files.kind in self._folders.kinds or files.kind in ("unet", "clip") else []
        extra = [*files.extra, *self._coders(files)]
        return extra + names if files.first else names + extra

    def accepts(self, files: Files, value: str) -> bool:
        names = self(files)
        known = self._sets.get(files)
        if known is None or known[0] != names:
            known = self._sets[files] = (names, frozenset(names))
        return value in known[1] or (files.kind in _PLACES and self._exists(files.kind, value))

    def refusal(self, prefix: str) -> str:
        try:
            split_prefix(prefix, self._folders.output)
        except Problem as problem:
            return str(problem)
        return ""

    def _exists(self, place: str, value: str) -> bool:
        """Files in subfolders and of other places ("x.png [output]") may be named too, if they exist where they should."""
        try:
            return self._folders.resolve(value, place).is_file()
        except Problem:
            return False

    def _top_level(self, files: Files) -> list[str]:
        try:
            with os.scandir(self._folders.directory(files.kind)) as entries:
                wanted = os.DirEntry.is_dir if files.content == ("folder",) else os.DirEntry.is_file
                names = sorted(e.name for e in entries if wanted(e))
        except OSError:  # the directory does not exist yet: nothing to offer
            return []
        return [n for n in names if medium(n) in files.content] if files.content and files.content != ("folder",) else names

    def _coders(self, files: Files) -> list[str]:
        """Small autoencoders whose encoder and decoder files are both there."""
        if not files.coders:
            return []
        names = self._folders.list("vae_approx")
        return [c for c in files.coders if all(any(n.startswith(f"{c}_{part}") for n in names) for part in ("encoder.", "decoder."))]
