"""A model family small enough to think about, and a pool that runs it: what sampling needs, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from backend.diffusion.handle import ModelHandle
from backend.diffusion.latent import LatentFormat
from backend.diffusion.noise import DiscreteNoise, NoiseModel, betas
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Conv2d, Linear, init_weights


class ToyNet(nn.Module):
    """A convolution, the mean of the text tokens, and the timestep."""

    def __init__(self, channels: int = 4, dim: int = 6) -> None:
        super().__init__()
        self.mix = Conv2d(channels, channels, 1)
        self.text = Linear(dim, channels)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        text = self.text(context.mean(1)).reshape(x.shape[0], -1, *[1] * (x.ndim - 2))
        time = (t.to(x.dtype) / 1000).reshape(-1, *[1] * (x.ndim - 1))
        return torch.tanh(self.mix(x) + text + time)


@dataclass(frozen=True)
class ToyFamily:
    """Counts its forwards in `calls`: (batch, spatial size, keyword shapes)."""

    calls: list[tuple[Any, ...]]
    latent: LatentFormat = field(default_factory=lambda: LatentFormat(scale=0.5))
    name: str = "toy"
    most_batch: int | None = None

    def inputs(self, conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
        assert len(conds) == 1
        return {"context": conds[0]["cross_attn"]}

    def working_bytes(self, shape: Sequence[int], sizes: Any) -> int:
        return 4 * shape[0]

    def forward(self, net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
        if self.most_batch is not None and x.shape[0] > self.most_batch:
            raise torch.OutOfMemoryError("toy")
        self.calls.append((x.shape[0], tuple(x.shape[2:]), kwargs["context"].shape[1]))
        out: Tensor = net(x, t, kwargs["context"])
        return out


def toy_model(noise: NoiseModel | None = None, dtype: torch.dtype = torch.float32, family: ToyFamily | None = None) -> ModelHandle:
    """A handle on a toy net with weights drawn from seed 0."""
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    weights = dict(init_weights(ToyNet()).state_dict())
    torch.random.set_rng_state(state)
    loadable = Loadable("toy", ToyNet, weights, dtype=dtype)
    return ModelHandle(loadable, family or ToyFamily([]), None, noise or DiscreteNoise.from_betas(betas("scaled_linear")))


def toy_pool() -> Pool:
    return Pool("cpu")


def text(seed: int, tokens: int = 7, batch: int = 1) -> Tensor:
    """Encoded text [batch, tokens, 6]."""
    return torch.randn(batch, tokens, 6, generator=torch.Generator().manual_seed(seed))


def cond(seed: int, tokens: int = 7, **options: Any) -> list[Any]:
    """A conditioning of one entry."""
    return [[text(seed, tokens), options]]
