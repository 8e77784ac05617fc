"""Wan 2.1, and the large nets of 2.2: films from text and from a first picture; ChronoEdit, which changes a picture by a film of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.batching import repeated
from backend.diffusion.latent import WAN
from backend.diffusion.noise import NoiseModel, flow_noise
from backend.encoders.t5.handle import T5Handle
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families import Family
from backend.families.joining import Joiner
from backend.families.prompt import tokens
from backend.families.wan.names import from_diffusers, to_diffusers
from backend.families.wan.net import PATCH, WanNet, WanSizes
from backend.weights.detect import Signature, count
from backend.weights.file import Header

SHIFT = 8.0
LENGTH = 512
"""Tokens that every prompt is filled up to, with nothing."""
HOLES = 4
"""Channels that say which of four frames are given."""
_MARKS = ("patch_embedding.weight", "head.modulation", "blocks.0.self_attn.norm_q.weight", "text_embedding.0.weight")
_OTHERS = (
    "img_emb.emb_pos", "vace_patch_embedding.weight", "control_adapter.conv.weight", "ref_conv.weight",
    "motion_encoder.dec.direction.weight", "casual_audio_encoder.weights", "audio_proj.audio_proj_glob_1.layer.weight",
    "patch_embedding_pose.weight",
)  # fmt: skip
"""Marks of nets that are shown more than a first picture."""


def sizes(header: Header) -> WanSizes:
    """Sizes from shapes. A head of 128 channels is every published net's; a narrower one has two."""
    width, shown = header["patch_embedding.weight"].shape[:2]
    seen = header.get("img_emb.proj.0.weight")
    return WanSizes(
        channels=header["head.head.weight"].shape[0] // (PATCH * PATCH),
        shown=shown,
        width=width,
        heads=max(2, width // 128),
        layers=count(header, "blocks"),
        hidden=header["blocks.0.ffn.0.weight"].shape[0],
        context=header["text_embedding.0.weight"].shape[1],
        image=seen.shape[0] if seen is not None else None,
    )


def takes(more: int) -> Callable[[Header], bool]:
    """A net that makes 16 channels and is shown so many beside them."""

    def matches(header: Header) -> bool:
        return header["patch_embedding.weight"].shape[1] == 16 + more and header["head.modulation"].shape[1] == 2

    return matches


def noise(facts: Mapping[str, str]) -> NoiseModel:
    return flow_noise(SHIFT)


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The prompt's tokens, filled up; what is known of the film, and what an image encoder saw.

    Raises BadInput for a text or a picture of another encoder.
    """
    assert isinstance(sizes, WanSizes)
    context = tokens(conds, sizes.context, "Wan", "Encode the prompt with UMT5 XXL (Load CLIP, type wan).")
    made = {"context": F.pad(context, (0, 0, 0, max(0, LENGTH - context.shape[1])))}
    if sizes.shown > sizes.channels:
        made["concat"] = torch.cat([known(cond, shape) for cond in conds])
    vision = conds[0].get("clip_vision_output")
    if vision is not None and sizes.image is not None:
        states: Tensor = vision.penultimate_hidden_states
        if states.shape[-1] != sizes.image:
            raise BadInput(
                f"The picture is encoded {states.shape[-1]} wide, but this Wan model takes {sizes.image}.",
                hint="Encode it with CLIP-ViT-H (clip_vision_h).",
            )
        made["seen"] = states[:1]
    return made


def known(cond: dict[str, Any], shape: Sequence[int]) -> Tensor:
    """[1, 4 + 16, T, H, W]: which frames are given, and the film with them, as the net sees latents; nothing where the entry has none."""
    film: Tensor | None = cond.get("concat_latent_image")
    mask: Tensor | None = cond.get("concat_mask")
    size = tuple(shape[2:])
    picture = torch.zeros(1, 16, *size) if film is None else fitted(WAN.process_in(film.float()), size)
    given = torch.zeros(1, HOLES, *size)
    if mask is not None:
        given = fitted(1 - mask.float().mean(1, keepdim=True) if mask.shape[1] != HOLES else 1 - mask.float(), size).expand(1, HOLES, *size)
    return torch.cat([given, repeated(picture, 1)], dim=1)


def fitted(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """x [B, C, T, h, w] at a size of frames, rows and columns; missing frames are nothing."""
    if tuple(x.shape[3:]) != size[1:]:
        flat = F.interpolate(x.transpose(1, 2).flatten(0, 1), size=size[1:], mode="bilinear")
        x = torch.unflatten(flat, 0, (len(x), -1)).transpose(1, 2)
    x = x[:, :, : size[0]]
    return F.pad(x, (0, 0, 0, 0, 0, size[0] - x.shape[2]))


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net; what is known of the film is joined to x along channels."""
    rest = dict(kwargs)
    concat = rest.pop("concat", None)
    if concat is not None:
        x = torch.cat([x, concat.to(x.dtype)], dim=1)
    out: Tensor = net(x, t, **rest)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: tokens' states, queries, keys and values twice, and the perceptron's inner layer twice."""
    assert isinstance(sizes, WanSizes)
    frames = shape[2] if len(shape) == 5 else 1
    tokens = shape[0] * (frames * shape[-2] * shape[-1] // PATCH**2 + LENGTH)
    return tokens * (10 * sizes.width + 2 * sizes.hidden) * 4


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    if len(encoders) != 1 or not isinstance(encoders[0], T5Handle) or encoders[0].branch not in ("umt5xxl", "umt5base"):
        return None
    return replace(encoders[0], min_length=LENGTH, masked=True, zeroed=True)


TEXT = Joiner("Wan", "UMT5 XXL", ("wan",), _join)
FROM_TEXT = Family(
    name="Wan",
    signature=Signature(has=_MARKS, lacks=_OTHERS, where=takes(0)),
    latent=WAN,
    sizes=sizes,
    build=WanNet,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=TEXT,
)
FROM_PICTURE = replace(FROM_TEXT, name="Wan image to video", signature=replace(FROM_TEXT.signature, where=takes(HOLES + 16)))

FAMILIES = (FROM_TEXT, FROM_PICTURE)
