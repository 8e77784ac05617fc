"""Whether a file holds every weight that a net asks for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from backend.base.errors import BadFile
from backend.weights.detect import sample_of
from backend.weights.file import WeightFile


def require(build: Callable[[], nn.Module], file: WeightFile, what: str) -> tuple[str, ...]:
    """The names in `file` that the net does not use. Raises BadFile naming the first weight that is missing or has another shape.

    `what` completes "looks like ...".
    """
    with torch.device("meta"):
        parameters = dict(build().named_parameters())
    for name, parameter in parameters.items():
        if name not in file:
            text = f"{file.path.name} looks like {what}, but the weight {name} is missing."
            raise BadFile(text, hint="The file is incomplete: fetch it again.", file=file.path)
        if file[name].shape != tuple(parameter.shape):
            text = (
                f"{file.path.name} looks like {what}, but its weight {name} has the shape {list(file[name].shape)}"
                f" where {list(parameter.shape)} is expected."
            )
            raise BadFile(text, hint="The file is damaged or of an unknown variant.", file=file.path)
    return tuple(name for name in file if name not in parameters)


def unused(file: WeightFile, left: tuple[str, ...]) -> str:
    """A sentence about keys that nothing uses, or ""."""
    return f"{file.path.name}: {len(left)} keys are not used, e.g. {sample_of(left)}." if left else ""
