"""The border between our values and the objects foreign code expects on the same wires."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any


class Dressed:
    """A foreign-looking object that stands for one of our values. Subclasses in packs inherit the way back."""

    @abstractmethod
    def undressed(self) -> Any:
        """The value our nodes take."""


_WAYS: dict[type, Callable[[Any], Any]] = {}
"""Class of a value of ours -> what makes the foreign object of it. Filled at the first value of a class."""
_MODULES: Mapping[str, tuple[str, str]] = {
    "ModelHandle": ("comfy.model_patcher", "dress"),
    "ClipHandle": ("comfy.sd", "dress_clip"),
    "JointText": ("comfy.sd", "dress_clip"),
    "HookedClip": ("comfy.sd", "dress_clip"),
    "VaeHandle": ("comfy.sd", "dress_vae"),
    "VisionHandle": ("comfy.clip_vision", "dress"),
    "VisionOutput": ("comfy.clip_vision", "dress_output"),
    "Upscaler": ("backend.packs.wires", "dress_upscaler"),
    "StyleModel": ("backend.packs.wires", "dress_style_model"),
    "Hooks": ("comfy.hooks", "dress"),
    "Solver": ("comfy.samplers", "dress_solver"),
    "BasicGuider": ("comfy.samplers", "dress_guider"),
    "CfgGuider": ("comfy.samplers", "dress_guider"),
    "DualCfgGuider": ("comfy.samplers", "dress_guider"),
    "PerpNegGuider": ("comfy.samplers", "dress_guider"),
    "PackGuider": ("comfy.samplers", "dress_guider"),
    "Control": ("comfy.controlnet", "dress"),
    "Blocker": ("comfy_execution.graph", "dress"),
}
_OURS = ("backend.", "comfy.")


def _same(value: Any) -> Any:
    return value


def _way(kind: type) -> Callable[[Any], Any]:
    known = (_MODULES.get(k.__name__) for k in kind.__mro__ if k.__module__.startswith(_OURS) and not issubclass(k, Dressed))
    entry = next(filter(None, known), None)
    way: Callable[[Any], Any] = _same if entry is None else getattr(importlib.import_module(entry[0]), entry[1])
    _WAYS[kind] = way
    return way


def dress(value: Any) -> Any:
    """A value of ours as foreign code expects it; any other value unchanged."""
    kind = value.__class__
    return (_WAYS.get(kind) or _way(kind))(value)


def undress(value: Any) -> Any:
    """The way back."""
    return value.undressed() if isinstance(value, Dressed) else value


def undress_all(values: Any) -> Any:
    """A node's outputs; one that is a list (a list output) is looked into."""
    made = []
    for value in values:
        if value.__class__ is list and any(isinstance(v, Dressed) for v in value):
            value = [undress(v) for v in value]
        made.append(undress(value))
    return tuple(made)
