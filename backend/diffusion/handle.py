"""What travels on a MODEL wire: weights by name, a family, noise, patches, taps. A value; every change makes another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor, nn

from backend.diffusion.latent import LatentFormat
from backend.diffusion.noise import NoiseModel
from backend.memory.pool import Loadable
from backend.weights.file import Origin
from backend.weights.patch import Patch

GUIDANCE_TAPS = ("cfg", "pre_cfg", "post_cfg", "predict", "apply", "forward", "net", "denoise_mask", "needs_uncond", "conds", "sample")
"""Taps that act around the net (see guiders, denoiser, sample). Every other name belongs to the net and is handed to it.

"conds" holds (role, conditioning) pairs to be ready besides the guider's. A tap that keeps something from step to step has
`begin(model, sigmas)` and `end()`, called around every sampling."""


class FamilyLike(Protocol):
    """What sampling needs of a model family."""

    @property
    def name(self) -> str: ...

    @property
    def latent(self) -> LatentFormat: ...

    def inputs(self, conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
        """Keyword tensors for `forward`, from conditioning entries.

        Each entry is the dict of one conditioning entry with the encoded text under "cross_attn" [n, tokens, dim]. Sampling always
        passes a list of one. `shape` is the latent's [B, C, ...]. Tensors come out with batch 1 or n in front; they are repeated,
        cast and cropped to areas by the caller. Anything with the latent's own spatial size (an inpainting condition) is cropped too.
        """
        ...

    def with_latent(self, latent: LatentFormat) -> FamilyLike:
        """The same family for nets that were trained on latents of another format."""
        ...

    def marks(self, sizes: Any) -> Mapping[str, Tensor]:
        """Small tensors beside a net of these sizes, by which a saved checkpoint is known again."""
        ...

    def to_diffusers(self, sizes: Any, keys: Iterable[str]) -> Mapping[str, Origin]:
        """Net parameter name -> its name in diffusers (or pieces, with their rows), for those of `keys` that have one; adapter files use
        either."""
        ...

    def working_bytes(self, shape: Sequence[int], sizes: Any) -> int:
        """An estimate of what one forward of latents of `shape` needs besides the weights."""
        ...

    def forward(self, net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """Run the net on x [B, C, ...] at timesteps t [B]. `kwargs` holds what `inputs` gave, batched, and, only where there are any,
        "control" (residuals by place), and "taps" with "facts" (see nn.taps)."""
        ...


@dataclass(frozen=True)
class ModelHandle:
    """A diffusion model as nodes pass it around. Cheap to copy, holds no memory of the device."""

    loadable: Loadable
    family: FamilyLike
    sizes: Any
    noise: NoiseModel
    patches: tuple[Patch, ...] = ()
    taps: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def patched(self, *patches: Patch) -> ModelHandle:
        """The same model with weight patches added after those it has."""
        return replace(self, patches=(*self.patches, *patches))

    def with_noise(self, noise: NoiseModel) -> ModelHandle:
        """The same net read under another noise model."""
        return replace(self, noise=noise)

    def with_tap(self, name: str, tap: Any) -> ModelHandle:
        """The same model with `tap` called after those that have this name already."""
        return replace(self, taps={**self.taps, name: (*self.taps.get(name, ()), tap)})

    def spellings(self) -> Mapping[str, Origin]:
        """Parameter name -> the other published name of the same weight, or the pieces that it is there."""
        return self.family.to_diffusers(self.sizes, self.loadable.source)

    def grown(self, columns: Mapping[str, int]) -> ModelHandle:
        """With weights of so many columns, by name, where the family knows such nets; else as it is."""
        grow = getattr(self.family, "grow", None)
        made: ModelHandle | None = None if grow is None else grow(self, columns)
        return self if made is None else made

    def leasable(self) -> Loadable:
        """What the pool is asked for: the weights with this handle's patches as deltas."""
        return self.loadable.patched(self.patches)

    def net_taps(self) -> dict[str, tuple[Any, ...]]:
        """The taps that the net itself calls."""
        return {name: taps for name, taps in self.taps.items() if name not in GUIDANCE_TAPS and taps}
