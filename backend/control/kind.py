"""What a kind of control net offers to the loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from backend.control.control import Source
from backend.diffusion.handle import ModelHandle
from backend.weights.file import WeightFile


@dataclass(frozen=True)
class Setting:
    """What a file is loaded with."""

    dtype: torch.dtype = torch.float32
    """What nets compute in."""
    base: ModelHandle | None = None
    """The model that a file of differences is a difference to."""


class Kind(Protocol):
    """Reads one kind of file."""

    def read(self, file: WeightFile, setting: Setting) -> Source | None:
        """The net in the file, from its header alone, or None where it is of another kind. Raises BadFile for a damaged one."""
        ...
