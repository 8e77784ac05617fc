"""From a file to a control."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from backend import control as room
from backend.base.errors import UnknownModel
from backend.control.control import Control
from backend.control.kind import Kind, Setting
from backend.diffusion.handle import ModelHandle
from backend.families.foreign import name_of
from backend.families.load import Services
from backend.weights.detect import sample_of
from backend.weights.file import stored_in
from backend.weights.open import open_weights


def kinds() -> tuple[Kind, ...]:
    """Every kind there is: the `KINDS` of each package in this folder, in order of name."""
    found: list[Kind] = []
    for module in sorted(pkgutil.iter_modules(room.__path__), key=lambda m: m.name):
        if module.ispkg:
            found.extend(importlib.import_module(f"{room.__name__}.{module.name}").KINDS)
    return tuple(found)


def load_control(path: Path | str, services: Services, base: ModelHandle | None = None) -> Control:
    """The control net of a file or a diffusers folder. Only the header is read.

    `base` is the model for files that hold differences. Raises MissingFile, BadFile for a damaged file, UnknownModel for another kind
    of file, BadInput for a difference without a base.
    """
    file = open_weights(path)
    setting = Setting(services.device.compute_dtype("unet", services.settings, stored_in(file)), base)
    for kind in kinds():
        source = kind.read(file, setting)
        if source is not None:
            return Control(source)
    known = name_of(file)
    what = f"is {known.what}, not a control net" if known else f"holds no known control net: its tensors are named {sample_of(file)}"
    raise UnknownModel(f"{file.path.name} {what}.", hint="Choose a ControlNet or T2I-Adapter file.", file=file.path)
