"""USO's projector (Wu et al. 2025, arXiv:2508.18966): the style of a picture, seen at three depths of SigLIP, as tokens for Flux.

Parameter names are those of the published file, below `feature_embedder.`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members, members_in
from backend.families.flux.net import FluxSizes
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import LayerNorm, Linear
from backend.weights.complete import require
from backend.weights.file import Renamed, Views, WeightFile, identity

PREFIX = "feature_embedder."
DEPTHS = {"low": -20, "mid": -11, "high": -2}
"""Layers of the image encoder, from its end."""


class Projector(nn.Module):
    """Hidden states by depth [B, positions, cin] -> tokens [B, 3 * tokens, width], high before mid before low."""

    def __init__(self, positions: int, tokens: int, cin: int, width: int) -> None:
        super().__init__()
        for name in DEPTHS:
            self.add_module(f"{name}_embedding_linear", nn.ModuleList([Linear(positions, tokens)]))
            self.add_module(f"{name}_layer_norm", LayerNorm(cin))
            self.add_module(f"{name}_projection", Linear(cin, width))

    def forward(self, states: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([self._tokens(name, states[name]) for name in ("high", "mid", "low")], dim=1)

    def _tokens(self, name: str, x: Tensor) -> Tensor:
        fewer: Any = self.get_submodule(f"{name}_embedding_linear")
        x = F.silu(fewer[0](x.transpose(1, 2))).transpose(1, 2)
        out: Tensor = self.get_submodule(f"{name}_projection")(self.get_submodule(f"{name}_layer_norm")(x))
        return out


@dataclass(frozen=True)
class Uso:
    """Such a file."""

    file: WeightFile
    loadable: Loadable
    positions: int
    cin: int
    width: int

    @property
    def title(self) -> str:
        return f"The model patch {self.file.path.name}, which gives Flux a style,"

    def styled(self, model: ModelHandle, seen: Any, pool: Pool) -> ModelHandle:
        """The model with the style of an encoded picture before its prompts. Raises BadInput for a model or encoder of another kind."""
        sizes = model.sizes
        if not isinstance(sizes, FluxSizes) or sizes.width != self.width:
            raise BadInput(f"{self.title} does not fit a {model.family.name} model.", hint="Use it with Flux dev.", input="model")
        every: Tensor | None = seen.all_hidden_states
        if every is None or every.shape[2:] != (self.positions, self.cin) or every.shape[1] < -min(DEPTHS.values()):
            shape = list(seen.last_hidden_state.shape[1:])
            raise BadInput(
                f"{self.title} looks at {self.positions} places {self.cin} wide, at several depths; this picture is encoded as {shape}.",
                hint="Encode it with SigLIP (sigclip_vision_patch14_384), whole.",
                input="clip_vision_output",
            )
        states = {name: every[:, depth].to(pool.device, self.loadable.dtype) for name, depth in DEPTHS.items()}
        with torch.no_grad(), pool.lease(self.loadable) as net:
            tokens: Tensor = net(states)
        return model.with_tap("post_input", Style(tokens.float().cpu()))


@dataclass(frozen=True, eq=False)
class Style:
    """Tokens [n, T, width] before those of the prompt, at no place."""

    tokens: Tensor

    def __call__(self, args: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        txt, at = args["txt"], args["txt_ids"]
        tokens = for_members(self.tokens.to(txt), len(txt), members_in(facts))
        places = at.new_zeros(len(at), tokens.shape[1], at.shape[2])
        return {**args, "txt": torch.cat([tokens, txt], dim=1), "txt_ids": torch.cat([places, at], dim=1)}


def read(file: WeightFile, dtype: torch.dtype) -> Uso | None:
    """The projector in a file, or None where it is of another kind."""
    mark = PREFIX + "mid_projection.weight"
    if mark not in file:
        return None
    named = Renamed(file, {key.removeprefix(PREFIX): key for key in file if key.startswith(PREFIX)})
    width, cin = file[mark].shape
    tokens, positions = named["high_embedding_linear.0.weight"].shape
    build = functools.partial(Projector, positions, tokens, cin, width)
    require(build, named, "the projector of USO")
    return Uso(file, Loadable(f"{identity(file)}#uso", build, Views(named), dtype=dtype), positions, cin, width)
