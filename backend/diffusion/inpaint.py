"""Denoise only where a mask says: at each step the rest is replaced by the original, noised to the step's sigma."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from backend.diffusion.batching import repeated
from backend.diffusion.handle import ModelHandle
from backend.diffusion.samplers.solver import Guided

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def fit_noise_mask(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """A noise mask of any size as [B, C, ...] of the latents' `shape`: interpolated, then repeated over channels and batch."""
    dims = len(shape) - 2
    if dims == 2:
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
    elif dims == 3 and mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])
    elif dims == 1 and mask.ndim < 3:
        mask = mask.reshape(-1, 1, mask.shape[-1])
    mask = F.interpolate(mask.float(), size=tuple(shape[2:]), mode=_MODES[dims])
    if mask.shape[1] < shape[1]:
        mask = mask.repeat(1, shape[1], *[1] * dims)[:, : shape[1]]
    return repeated(mask, shape[0])


class Masked:
    """A denoiser that keeps `clean` where `mask` [B, C, ...] is 0. `noise` is what the kept part was noised with."""

    def __init__(self, inner: Guided, model: ModelHandle, mask: Tensor, clean: Tensor, noise: Tensor, sigmas: Tensor) -> None:
        self.inner, self.model, self.mask, self.clean, self.noise, self.sigmas = inner, model, mask, clean, noise, sigmas

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        mask = self._mask(sigma)
        return self._outside(self.inner(self._inside(x, sigma, mask), sigma), mask)

    def pair(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """As the call; the unconditional estimate is left as the net gave it, as guidance taps see it."""
        mask = self._mask(sigma)
        denoised, uncond = self.inner.pair(self._inside(x, sigma, mask), sigma)
        return self._outside(denoised, mask), uncond

    def _mask(self, sigma: Tensor) -> Tensor:
        """The mask of this step: "denoise_mask" taps f(sigma, mask, {"model", "sigmas"}) -> mask may move it."""
        mask = self.mask
        for tap in self.model.taps.get("denoise_mask", ()):
            mask = tap(sigma, mask, {"model": self.model, "sigmas": self.sigmas})
        return mask

    def _inside(self, x: Tensor, sigma: Tensor, mask: Tensor) -> Tensor:
        if getattr(self.model.family, "keeps_clean", False):
            return x * mask + self.clean * (1 - mask)
        a, b = self.model.noise.prediction.blend(sigma[0].float().cpu())
        return x * mask + (self.clean * a + self.noise * b) * (1 - mask)

    def _outside(self, denoised: Tensor, mask: Tensor) -> Tensor:
        return denoised * mask + self.clean * (1 - mask)
