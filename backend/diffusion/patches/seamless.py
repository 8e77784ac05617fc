"""Pictures that tile: every convolution continues at the opposite border (circular padding)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn

from backend.diffusion.handle import ModelHandle
from backend.nn.layers import Conv2d


@contextmanager
def wrapped(net: nn.Module, rows: bool, columns: bool) -> Iterator[None]:
    """The convolutions of `net` wrap around for the length of the with."""
    layers = [(layer, layer.wraps) for layer in net.modules() if isinstance(layer, Conv2d)]
    try:
        for layer, _ in layers:
            layer.wraps = (rows, columns)
        yield
    finally:
        for layer, before in layers:
            layer.wraps = before


def seamless(model: ModelHandle, rows: bool, columns: bool) -> ModelHandle:
    """Latents that tile vertically (`rows`) and horizontally (`columns`); decode them the same way."""
    return model.with_tap("net", partial(wrapped, rows=rows, columns=columns))
