"""`sample_<name>(model, x, sigmas, extra_args, callback, disable, **options)` for every solver, and what such functions are made of.

model(x, sigma [B], **extra_args) gives x0. Packs add functions of their own to this module.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from backend.diffusion import curves
from backend.diffusion.path import Path
from backend.diffusion.randomness import BrownianNoise, GivenNoise, SeededNoise
from backend.diffusion.samplers import EXTRA, SAMPLERS
from comfy.k_diffusion import utils


def trange(*args: Any, **kwargs: Any) -> range:
    """The steps; how far they have come is told by callbacks, so bars (`disable`, `desc` ...) are not drawn."""
    return range(*args)


def append_zero(x: Any) -> Any:
    return torch.cat([x, x.new_zeros([1])])


def get_sigmas_karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0, device: Any = "cpu") -> Any:
    return curves.karras(n, float(sigma_min), float(sigma_max), rho).to(device)


def get_sigmas_exponential(n: int, sigma_min: float, sigma_max: float, device: Any = "cpu") -> Any:
    return curves.exponential(n, float(sigma_min), float(sigma_max)).to(device)


def get_sigmas_polyexponential(n: int, sigma_min: float, sigma_max: float, rho: float = 1.0, device: Any = "cpu") -> Any:
    ramp = torch.linspace(1, 0, n) ** rho
    return append_zero(torch.exp(ramp * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min))).to(device)


def get_sigmas_vp(n: int, beta_d: float = 19.9, beta_min: float = 0.1, eps_s: float = 1e-3, device: Any = "cpu") -> Any:
    t = torch.linspace(1, eps_s, n)
    return append_zero(torch.sqrt(torch.special.expm1(beta_d * t**2 / 2 + beta_min * t))).to(device)


def get_sigmas_laplace(n: int, sigma_min: float, sigma_max: float, mu: float = 0.0, beta: float = 0.5, device: Any = "cpu") -> Any:
    eps = 1e-5
    x = torch.linspace(0, 1, n)
    lam = mu - beta * torch.sign(0.5 - x) * torch.log(1 - 2 * torch.abs(0.5 - x) + eps)
    return append_zero(torch.clamp(torch.exp(lam), min=sigma_min, max=sigma_max)).to(device)


def to_d(x: Any, sigma: Any, denoised: Any) -> Any:
    """dx / d sigma (Karras et al. 2022)."""
    return (x - denoised) / utils.append_dims(sigma, x.ndim)


def get_ancestral_step(sigma_from: Any, sigma_to: Any, eta: float = 1.0) -> tuple[Any, Any]:
    """(sigma_down, sigma_up)."""
    if not eta:
        return sigma_to, 0.0
    up = min(sigma_to, eta * (sigma_to**2 * (sigma_from**2 - sigma_to**2) / sigma_from**2) ** 0.5)
    return (sigma_to**2 - up**2) ** 0.5, up


def default_noise_sampler(x: Any, seed: int | None = None) -> Any:
    """noise_sampler(sigma, sigma_next): unit noise like x."""
    if seed is None:
        return lambda sigma, sigma_next: torch.randn_like(x)
    return SeededNoise(seed).gaussian(x)


class BrownianTreeNoiseSampler:
    """Increments of one Brownian path over sigma."""

    def __init__(self, x: Any, sigma_min: Any, sigma_max: Any, seed: Any = None, transform: Any = lambda x: x, cpu: bool = False) -> None:
        self.transform = transform
        low, high = sorted((float(transform(torch.as_tensor(sigma_min))), float(transform(torch.as_tensor(sigma_max)))))
        seed = int(torch.randint(0, 2**63 - 1, []).item()) if seed is None else seed
        self._noise = BrownianNoise(x, low, high, seed, cpu)

    def __call__(self, sigma: Any, sigma_next: Any) -> Any:
        return self._noise(float(self.transform(torch.as_tensor(sigma))), float(self.transform(torch.as_tensor(sigma_next))))


class _Asked:
    """A foreign model as the thing a solver of ours asks."""

    def __init__(self, model: Any, extra: Any) -> None:
        self.model, self.extra = model, extra

    def __call__(self, x: Any, sigma: Any) -> Any:
        return self.model(x, sigma.to(x.device), **self.extra)

    def pair(self, x: Any, sigma: Any) -> tuple[Any, Any]:
        from comfy.model_patcher import set_model_options_post_cfg_function

        ours = getattr(self.model, "ours", None)
        if ours is not None and hasattr(ours, "pair"):
            return ours.pair(x, sigma)
        seen: list[Any] = []

        def note(args: Any) -> Any:
            seen.append(args["uncond_denoised"])
            return args["denoised"]

        options = set_model_options_post_cfg_function(dict(self.extra.get("model_options") or {}), note, disable_cfg1_optimization=True)
        denoised = self.model(x, sigma.to(x.device), **{**self.extra, "model_options": options})
        return denoised, seen[-1] if seen else denoised


def _path(model: Any) -> Path:
    from comfy.model_sampling import CONST

    inner = getattr(getattr(model, "inner_model", None), "inner_model", None)
    sampling = getattr(inner, "model_sampling", None)
    return Path() if sampling is None else Path(isinstance(sampling, CONST), sampling.percent_to_sigma)


def function_of(name: str, run: Any) -> Any:
    """A solver of ours as a sampler function. Options keep the names they have there."""

    def sample(
        model: Any,
        x: Any,
        sigmas: Any,
        extra_args: Any = None,
        callback: Any = None,
        disable: Any = None,
        noise_sampler: Any = None,
        **options: Any,
    ):
        extra = dict(extra_args or {})
        source: Any = SeededNoise(int(extra.get("seed") or 0))
        if noise_sampler is not None:
            source = GivenNoise(lambda sigma, sigma_next: noise_sampler(x.new_tensor(sigma), x.new_tensor(sigma_next)))

        def on_step(step: Any) -> None:
            if callback is not None:
                d = {
                    "x": step.x,
                    "i": step.i,
                    "sigma": x.new_tensor(step.sigma),
                    "sigma_hat": x.new_tensor(step.sigma_hat),
                    "denoised": step.denoised,
                }
                callback(d)

        return run(_Asked(model, extra), x, sigmas.detach().float().cpu(), noise=source, on_step=on_step, path=_path(model), **options)

    sample.__name__ = sample.__qualname__ = f"sample_{name}"
    if name in SAMPLERS or name in EXTRA:
        sample.solver = name
    return sample


for _name, _run in {**SAMPLERS, **EXTRA}.items():
    globals()[f"sample_{_name}"] = function_of(_name, _run)
