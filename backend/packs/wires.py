"""Values of small wires as packs expect them."""

from __future__ import annotations

from typing import Any

import torch

from backend.packs.facade import Dressed
from backend.packs.host import HOST


class UpscaleModel(Dressed):
    """UPSCALE_MODEL: the descriptor of the library that packs know, and the way back."""

    def __init__(self, ours: Any) -> None:
        self._ours = ours

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ours.descriptor, name)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """[1, C, H, W] in 0..1, `scale` times as large."""
        made: torch.Tensor = self._ours.descriptor(image)
        return made

    def to(self, *args: Any, **kwargs: Any) -> UpscaleModel:
        self._ours.descriptor.model.to(*args, **kwargs)
        return self

    def cpu(self) -> UpscaleModel:
        return self.to("cpu")

    def undressed(self) -> Any:
        return self._ours


class StyleModel(Dressed):
    """STYLE_MODEL."""

    def __init__(self, ours: Any) -> None:
        self._ours = ours

    def get_cond(self, input: Any) -> torch.Tensor:
        """Tokens [B, n, width] of an encoded picture."""
        made: torch.Tensor = self._ours.tokens(input.last_hidden_state, HOST.services.pool)
        return made

    def undressed(self) -> Any:
        return self._ours


dress_upscaler, dress_style_model = UpscaleModel, StyleModel
