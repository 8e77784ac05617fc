"""Cosmos Predict 2: pictures from text, and films that begin or end with given frames, told by the first T5-11B, on Wan's latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.diffusion.latent import WAN
from backend.diffusion.noise import NoiseModel, cosmos_noise
from backend.encoders.t5.handle import T5Handle
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families import Family
from backend.families.cosmos.names import from_diffusers, to_diffusers
from backend.families.cosmos.net import PATCH, CosmosNet, CosmosSizes
from backend.families.joining import Joiner
from backend.families.prompt import tokens
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "Cosmos Predict 2"
LENGTH = 512
"""Tokens that every prompt is filled up to, with nothing."""
LOUDEST, QUIETEST = 80.0, 0.002
LARGE = 5120
"""Width of the net with 14 billion weights."""
STRETCHES = {(False, False): (1.0, 4.0, 4.0), (True, False): (1.0, 3.0, 3.0), (True, True): (20 / 24, 2.0, 2.0)}
"""How far frames, rows and columns reach, by whether the net is shown frames and whether it is the large one; the large one that makes
pictures is like the small one."""
_ENTRANCE = "x_embedder.proj.1.weight"
_MARKS = (_ENTRANCE, "t_embedding_norm.weight", "blocks.0.self_attn.q_norm.weight", "blocks.0.adaln_modulation_mlp.2.weight")
_OTHERS = (
    "llm_adapter.blocks.0.cross_attn.k_proj.weight", "crossattn_proj.0.weight", "img_context_proj.0.weight",
    "blocks.0.cross_attn.q_img.weight", "control_embedder.proj.1.weight",
)  # fmt: skip
"""Marks of nets with other texts (Anima, Predict 2.5) and of control nets."""


def cosmos_sizes(header: Header) -> CosmosSizes:
    """Sizes from shapes; a head is as wide as what its queries are normalised with."""
    width, patch = header[_ENTRANCE].shape
    channels = header["final_layer.linear.weight"].shape[0] // PATCH**2
    shown = patch // PATCH**2
    told = shown > channels + 1
    return CosmosSizes(
        channels=channels,
        shown=shown,
        width=width,
        heads=width // header["blocks.0.self_attn.q_norm.weight"].shape[0],
        layers=count(header, "blocks"),
        hidden=header["blocks.0.mlp.layer1.weight"].shape[0],
        context=header["blocks.0.cross_attn.k_proj.weight"].shape[1],
        low=header["blocks.0.adaln_modulation_mlp.1.weight"].shape[0],
        stretch=STRETCHES[told, told and width >= LARGE],
    )


def shown(more: int) -> Callable[[Header], bool]:
    """A net that is shown so many channels beside those it makes."""

    def matches(header: Header) -> bool:
        made = header.get("final_layer.linear.weight")
        given = header[_ENTRANCE].shape
        return made is not None and len(given) == len(made.shape) == 2 and given[1] == made.shape[0] + more * PATCH**2

    return matches


def noise(facts: Mapping[str, str]) -> NoiseModel:
    return cosmos_noise(QUIETEST, LOUDEST)


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens, filled up. A net that is told which frames are known gets these frames, and which they are ("known", 1).

    Raises BadInput for a text of another model.
    """
    assert isinstance(sizes, CosmosSizes)
    context = tokens(conds, sizes.context, NAME, "Encode the prompt with the first T5-11B (oldt5_xxl; Load CLIP, type cosmos).")
    made = {"context": F.pad(context, (0, 0, 0, max(0, LENGTH - context.shape[1])))}
    mask, clean = conds[0].get("denoise_mask"), conds[0].get("latent_image")
    if sizes.told and mask is not None and clean is not None:
        made["known"], made["clean"] = (1 - mask).expand(-1, -1, *shape[2:]), clean
    return made


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net. Known frames are shown as they are, at time 0."""
    rest = dict(kwargs)
    clean, known = rest.pop("clean", None), rest.get("known")
    if known is not None:
        x = x * (1 - known) + clean * known
        t = t[:, None] * (1 - known.float().mean(dim=(1, 3, 4)))
    out: Tensor = net(x, t, **rest)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: tokens' states, queries, keys and values twice, and the perceptron's inner layer twice."""
    assert isinstance(sizes, CosmosSizes)
    frames = shape[2] if len(shape) == 5 else 1
    count = shape[0] * (frames * shape[-2] * shape[-1] // PATCH**2 + LENGTH)
    return count * (10 * sizes.width + 2 * sizes.hidden) * 4


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    only = encoders[0] if len(encoders) == 1 else None
    if not isinstance(only, T5Handle) or only.branch != "t5xxl" or only.sizes.gated:
        return None
    return replace(only, min_length=LENGTH, masked=True, zeroed=True)


TEXT = Joiner("Cosmos", "the first T5-11B (oldt5_xxl)", ("cosmos",), _join)
IMAGE = Family(
    name=NAME,
    signature=Signature(has=_MARKS, lacks=_OTHERS, where=shown(1)),
    latent=WAN,
    sizes=cosmos_sizes,
    build=CosmosNet,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    repeats_text=False,
    text=TEXT,
)
FILM = replace(IMAGE, name=f"{NAME} from pictures", signature=replace(IMAGE.signature, where=shown(2)))

FAMILIES = (IMAGE, FILM)
