"""Put an IP-Adapter on a model: attention to pictures beside the attention to text.

The keys and values of a picture do not depend on the step, so they are made once, and the adapter's weights are not held while sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.adapters.ip.spec import IPAdapter
from backend.adapters.places import Place, attention_places, module_at
from backend.base.errors import BadInput
from backend.diffusion.handle import ModelHandle
from backend.families import kin
from backend.families.sd.unet import UNetSizes
from backend.memory.pool import Pool
from backend.nn.attention import attention
from backend.weights.file import identity
from backend.weights.patch import Patch

UNCOND = 1
TAP = "attn2_replace"
Attend = Callable[[Tensor, Tensor, Tensor, Mapping[str, Any]], Tensor]


@dataclass(frozen=True, eq=False)
class Embeds:
    """Encoded pictures for one kind of adapter, and what stands for no picture; [n, width] or [n, positions, width] each."""

    cond: Tensor
    uncond: Tensor
    states: Tensor | None = None
    """What the image encoder saw, for faces."""
    uncond_states: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Wish:
    """How strongly, where and when pictures count."""

    weight: float = 1.0
    start: float = math.inf
    """From this sigma down ..."""
    end: float = 0.0
    """... to this one."""
    mask: Tensor | None = None
    """[n, H, W], 1 where pictures count."""
    layers: Mapping[Place, float] | None = None
    """A factor for each place; None: 1 everywhere."""


@dataclass(frozen=True, eq=False)
class PictureAttention:
    """softmax(q kᵀ) v for the text, plus weight times the same for the pictures (eq. 5)."""

    inner: Attend | None
    keys: tuple[Tensor, Tensor]
    """For the positive and for the negative, [1, tokens, width]."""
    values: tuple[Tensor, Tensor]
    wish: Wish
    weight: float

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, facts: Mapping[str, Any]) -> Tensor:
        heads = facts["n_heads"]
        out = attention(q, k, v, heads) if self.inner is None else self.inner(q, k, v, facts)
        if not self.wish.end <= float(facts["sigmas"][0]) <= self.wish.start:
            return out
        roles: Sequence[int] = facts["cond_or_uncond"]
        rows = q.shape[0] // len(roles)
        k_ip, v_ip = (torch.cat([t[role == UNCOND].to(q).expand(rows, -1, -1) for role in roles]) for t in (self.keys, self.values))
        seen = attention(q, k_ip, v_ip, heads) * self.weight
        if self.wish.mask is not None:
            seen = seen * _fit(self.wish.mask, q, facts["original_shape"], rows, len(roles))
        return out + seen


def _fit(mask: Tensor, q: Tensor, shape: Sequence[int], rows: int, members: int) -> Tensor:
    """The mask at the size of a map, as [B, tokens, 1]. Maps are halved, rounding up, until they have as many cells as q has tokens."""
    height, width = shape[-2:]
    while height * width > q.shape[1]:
        height, width = -(-height // 2), -(-width // 2)
    fitted = F.interpolate(mask[:, None].to(q), size=(height, width), mode="bicubic").flatten(1)[..., None]
    fitted = fitted.expand(rows, -1, -1) if len(fitted) == 1 else fitted.repeat(-(-rows // len(fitted)), 1, 1)[:rows]
    return fitted.repeat(members, 1, 1)


def with_pictures(model: ModelHandle, adapter: IPAdapter, embeds: Embeds, wish: Wish, pool: Pool) -> ModelHandle:
    """The model, attending to pictures as well. Raises BadInput for an adapter or an encoding of another kind, naming both sides."""
    places = _places(model, adapter)
    _check(adapter, embeds)
    pairs = [_pairs(adapter, x, states, pool) for x, states in ((embeds.cond, embeds.states), (embeds.uncond, embeds.uncond_states))]
    earlier: dict[Any, Attend] = dict(model.taps.get(TAP, ()))
    for i, (place, _) in enumerate(places):
        factor = 1.0 if wish.layers is None else wish.layers.get(place, 0.0)
        if factor == 0 or wish.weight == 0:
            continue
        (k, v), (uk, uv) = pairs[0][i], pairs[1][i]
        inner = earlier.get(place) or earlier.get(place[:2])
        model = model.with_tap(TAP, (place, PictureAttention(inner, (k, uk), (v, uv), wish, wish.weight * factor)))
    return model.patched(*_patches(adapter, places, wish.weight))


def _places(model: ModelHandle, adapter: IPAdapter) -> list[tuple[Place, int]]:
    sizes = model.sizes
    places = attention_places(sizes) if isinstance(sizes, UNetSizes) else []
    if [width for _, width in places] != [w for _, w in adapter.sizes.layers] or sizes.context != adapter.sizes.context:
        made_for = kin.of_unet(adapter.sizes.context, adapter.sizes.context == _SDXL)
        raise BadInput(
            f"The IP-Adapter {adapter.file.path.name} is for {made_for} with {len(adapter.sizes.layers)} cross-attentions,"
            f" the model is {model.family.name} with {len(places)}.",
            hint="Use an adapter made for this kind of model.",
            input="ip_adapter",
            file=adapter.file.path,
        )
    return places


_SDXL = 2048


def _check(adapter: IPAdapter, embeds: Embeds) -> None:
    s, given = adapter.sizes, embeds.cond.shape[-1]
    if given != s.cin:
        raise BadInput(
            f"The IP-Adapter {adapter.file.path.name} takes pictures encoded {s.cin} wide, these are {given} wide.",
            hint="Use the image encoder that the adapter was made with (ViT-H is 1280 or 1024 wide, ViT-bigG 1664 or 1280).",
            input="clip_vision",
        )
    if s.projection == "face plus" and (embeds.states is None or embeds.states.shape[-1] != s.clip):
        raise BadInput(
            f"The IP-Adapter {adapter.file.path.name} needs the picture of the face as well, encoded {s.clip} wide.",
            hint="Connect the picture and the image encoder that belongs to the adapter.",
            input="clip_vision",
        )


def _pairs(adapter: IPAdapter, x: Tensor, states: Tensor | None, pool: Pool) -> list[tuple[Tensor, Tensor]]:
    """Keys and values for every place, the tokens of all pictures in a row: [1, n tokens, width]."""
    plus = adapter.sizes.projection == "face plus"
    with torch.no_grad(), pool.lease(adapter.loadable) as net:
        seen = states.to(pool.device, adapter.dtype) if plus and states is not None else None
        made: list[tuple[Tensor, Tensor]] = net(x.to(pool.device, adapter.dtype), seen, adapter.shortcut)
    return [(k.reshape(1, -1, k.shape[-1]), v.reshape(1, -1, v.shape[-1])) for k, v in made]


def _patches(adapter: IPAdapter, places: list[tuple[Place, int]], strength: float) -> list[Patch]:
    """The low-rank changes that face adapters carry for the model's own attentions."""
    patches = []
    for i, (place, _) in enumerate(places):
        for which in (0, 1):
            for projection in ("to_q", "to_k", "to_v", "to_out"):
                factors = adapter.factors(2 * i + which, projection)
                if factors is None:
                    continue
                name = f"{module_at(place)}.attn{which + 1}.{projection}{'.0' if projection == 'to_out' else ''}.weight"
                mark = f"{identity(adapter.file)}|{name}"
                patches.append(Patch(name, strength, mark, factors.delta(strength, mark)))
    return patches
