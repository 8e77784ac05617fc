"""The vision tower that lies beside a language model."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from backend.encoders.lm.vision.net import HEADS, Qwen2Vision, Qwen3Vision, VisionSizes
from backend.encoders.lm.vision.pictures import MERGE, QWEN2, QWEN3, Look, patches
from backend.encoders.text import Found
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import count
from backend.weights.file import Header, Renamed, Views

MARK = "visual.patch_embed.proj.weight"
WHOLE = (7, 15, 23, 31)
"""Layers of Qwen 2.5's tower that see the whole picture."""
DEEP = {24: (5, 11, 17), 27: (8, 16, 24)}
"""Layers whose states Qwen 3's language model gets in its first layers, by the number of layers."""


@dataclass(frozen=True)
class Seen:
    """A picture as tokens: vectors [n, width], those for the first layers, and the grid they lie in."""

    tokens: Tensor
    deep: tuple[Tensor, ...]
    rows: int
    columns: int


@dataclass(frozen=True)
class Vision:
    """A vision tower by name."""

    loadable: Loadable
    sizes: VisionSizes
    look: Look

    @torch.no_grad()
    def see(self, picture: Tensor, pool: Pool) -> Seen:
        """A picture [H, W, 3] in 0..1, float32 on the CPU. Raises BadInput."""
        x, rows, columns = patches(picture, self.look)
        with pool.lease(self.loadable, self.working(len(x))) as leased:
            net = cast(Qwen2Vision, leased)
            tokens, deep = net(x.to(pool.device, self.loadable.dtype), rows, columns)
            kept = tuple(state.float().cpu() for state in (tokens, *deep))
        return Seen(kept[0], kept[1:], rows // MERGE, columns // MERGE)

    def working(self, count: int) -> int:
        """Bytes of activations of so many patches."""
        s = self.sizes
        return count * (8 * s.width + 3 * s.mlp + s.heads * 64) * 4


def vision_of(found: Found) -> Vision | None:
    """The tower in a file, or None. Raises KeyError, ValueError for one that is incomplete."""
    mark = next((key for key in found.file if key.endswith(MARK)), None)
    if mark is None:
        return None
    prefix = mark.removesuffix("patch_embed.proj.weight")
    named = Renamed(found.file, {key[len(prefix) :]: key for key in found.file if key.startswith(prefix)})
    said = found.config.get("vision_config")
    sizes = _sizes(named, said if isinstance(said, Mapping) else {})
    build = Qwen3Vision if sizes.table else Qwen2Vision
    with torch.device("meta"):
        net = build(sizes)
    for name, parameter in net.named_parameters():
        if named[name].shape != tuple(parameter.shape):
            raise ValueError(f"visual.{name} has the shape {list(named[name].shape)}, expected {list(parameter.shape)}")
    dtype = torch.bfloat16 if found.dtype == torch.float16 else found.dtype
    loadable = Loadable(f"{found.key}_vision", functools.partial(build, sizes), Views(named), dtype=dtype)
    return Vision(loadable, sizes, QWEN3 if sizes.table else QWEN2)


def _sizes(header: Header, said: Mapping[str, Any]) -> VisionSizes:
    width, _, _, patch, _ = header["patch_embed.proj.weight"].shape
    layers = count(header, "blocks")
    heads = int(said.get("num_heads") or HEADS)
    if width % (4 * heads):
        raise ValueError(f"{width} channels of the vision tower are no {heads} heads that turn by rows and columns")
    if "pos_embed.weight" in header:
        has = "deepstack_merger_list.0.norm.weight" in header
        deep: Iterable[int] = (said.get("deepstack_visual_indexes") or DEEP.get(layers) or ()) if has else ()
        return VisionSizes(
            width, layers, header["blocks.0.mlp.linear_fc1.weight"].shape[0], patch, header["merger.linear_fc2.weight"].shape[0], heads,
            table=header["pos_embed.weight"].shape[0], deep=tuple(deep),
        )  # fmt: skip
    return VisionSizes(
        width, layers, header["blocks.0.mlp.gate_proj.weight"].shape[0], patch, header["merger.mlp.2.weight"].shape[0], heads,
        whole=tuple(said.get("fullatt_block_indexes") or WHOLE), window=int(said.get("window_size") or 112) // MERGE // patch,
    )  # fmt: skip
