"""Compiling a model."""

from __future__ import annotations

from typing import Any

from backend.diffusion.patches.compiled import compiled


def set_torch_compile_wrapper(
    model: Any, backend: str = "inductor", options: Any = None, mode: Any = None, fullgraph: bool = False, dynamic: Any = None,
    keys: Any = ("diffusion_model",), *args: Any, **kwargs: Any,
) -> None:  # fmt: skip
    """The blocks of the model run compiled from now on. Which parts and how is decided here; `backend` is the compiler."""
    if model.base is not None:
        model.base = compiled(model.base, backend)
