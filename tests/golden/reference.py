"""Reference samplers, loaded without what they would drag in, and denoisers simple enough to run through both."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def k_diffusion_sampling() -> Any:
    """The module k_diffusion.sampling alone: its package imports vision and training libraries that sampling does not need."""
    found = importlib.util.find_spec("k_diffusion")
    assert found is not None and found.submodule_search_locations, "k-diffusion is a development requirement"
    folder = Path(next(iter(found.submodule_search_locations)))
    name = "_k_diffusion_alone"
    if f"{name}.sampling" in sys.modules:
        return sys.modules[f"{name}.sampling"]
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    utils = types.ModuleType(f"{name}.utils")
    utils.append_dims = lambda x, dims: x[(...,) + (None,) * (dims - x.ndim)]  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    sys.modules[name], sys.modules[f"{name}.utils"] = package, utils
    spec = importlib.util.spec_from_file_location(f"{name}.sampling", folder / "sampling.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"{name}.sampling"] = module
    spec.loader.exec_module(module)
    return module


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    """A smooth denoiser [B, 4, H, W] that mixes channels and neighbours and is nowhere linear; of about unit size."""
    s = sigma.reshape(-1, *[1] * (x.ndim - 1))
    y = x / (s * s + 1).sqrt()
    return torch.tanh(0.7 * y + 0.4 * y.roll(1, 1) - 0.3 * y.roll(1, -1)) * (1 + 0.2 * torch.sin(s)) + 0.1


def unconditional(x: Tensor, sigma: Tensor) -> Tensor:
    """Another one, for guidance."""
    s = sigma.reshape(-1, *[1] * (x.ndim - 1))
    return 0.8 * torch.tanh(0.6 * x / (s * s + 1).sqrt() + 0.2)


class Both:
    """A guided denoiser with an unconditional answer."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x, sigma)

    def pair(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return denoise(x, sigma), unconditional(x, sigma)


def numbered_noise(shape: tuple[int, ...], seed: int = 5) -> Callable[..., Tensor]:
    """A noise sampler whose n-th call gives the n-th draw, whatever it is asked for. Make one for each side."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *args: torch.randn(shape, generator=generator)


@contextmanager
def patched(module: Any, **values: Any) -> Iterator[None]:
    """Attributes of a module for the length of a with."""
    old = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in old.items():
            setattr(module, name, value)
