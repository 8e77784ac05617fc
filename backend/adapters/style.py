"""Style models: an encoded picture as tokens that are added to the prompt. Parameter names are those of the published files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.base.errors import BadInput, UnknownModel
from backend.families.load import Services
from backend.memory.pool import Loadable, Pool
from backend.nn.joint import JointBlock
from backend.nn.layers import Layer, LayerNorm, Linear
from backend.weights.complete import require
from backend.weights.detect import count, sample_of
from backend.weights.file import Views, WeightFile, identity
from backend.weights.open import open_weights


class StyleAdapter(Layer):
    """T2I-Adapter's style model (Mou et al. 2023): learned tokens behind those of the picture [B, positions, width] -> [B, n, context]."""

    def __init__(self, width: int, context: int, tokens: int, layers: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.style_embedding = nn.Parameter(torch.empty(1, tokens, width))
        self.proj = nn.Parameter(torch.empty(width, context))
        self.transformer_layes = nn.ModuleList(JointBlock(width) for _ in range(layers))  # the published name
        self.ln_pre, self.ln_post = LayerNorm(width), LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.ln_pre(torch.cat([x, self.get("style_embedding", x).expand(x.shape[0], -1, -1)], dim=1))
        for block in self.transformer_layes:
            h = block(h)
        out: Tensor = self.ln_post(h[:, -self.tokens :]) @ self.get("proj", x)
        return out


class Redux(nn.Module):
    """Flux Redux: two layers, position by position."""

    def __init__(self, cin: int, hidden: int, context: int) -> None:
        super().__init__()
        self.redux_up, self.redux_down = Linear(cin, hidden), Linear(hidden, context)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.redux_down(F.silu(self.redux_up(x)))
        return out


@dataclass(frozen=True)
class StyleModel:
    """What travels on a STYLE_MODEL wire."""

    loadable: Loadable
    file: WeightFile
    cin: int
    """Width of the image encoder's states."""
    context: int
    """Width of the tokens."""

    def tokens(self, states: Tensor, pool: Pool) -> Tensor:
        """The last states of an image encoder [B, positions, cin] -> [B, n, context], float32 on the CPU. Raises BadInput."""
        if states.shape[-1] != self.cin:
            raise BadInput(
                f"The style model {self.file.path.name} takes pictures encoded {self.cin} wide, this one is {states.shape[-1]} wide.",
                hint="Use the image encoder that the style model was made with.",
                input="clip_vision_output",
            )
        with torch.no_grad(), pool.lease(self.loadable) as net:
            made: Tensor = net(states.to(pool.device, self.loadable.dtype))
        return made.float().cpu()


def load_style_model(path: Path | str, services: Services) -> StyleModel:
    """The style model in a file; only the header is read. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    if "style_embedding" in file and "proj" in file:
        _, tokens, cin = file["style_embedding"].shape
        context = file["proj"].shape[1]
        build: Callable[[], nn.Module] = functools.partial(StyleAdapter, cin, context, tokens, count(file, "transformer_layes"))
    elif "redux_down.weight" in file and "redux_up.weight" in file:
        hidden, cin = file["redux_up.weight"].shape
        context = file["redux_down.weight"].shape[0]
        build = functools.partial(Redux, cin, hidden, context)
    else:
        text = f"{file.path.name} holds no style model: its tensors are named {sample_of(file)}."
        raise UnknownModel(text, hint="Choose a style model, or load other files with the node for their kind.", file=file.path)
    require(build, file, "a style model")
    dtype = services.device.compute_dtype("text_encoder", services.settings)
    return StyleModel(Loadable(f"{identity(file)}#style", build, Views(file), dtype=dtype), file, cin, context)
