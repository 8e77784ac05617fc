"""What a net predicts and at which noise levels, as objects packs combine by inheritance.

`class MySampling(ModelSamplingDiscrete, V_PREDICTION): ...` and `add_object_patch("model_sampling", MySampling(config))`.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from backend.diffusion import noise as ours
from backend.diffusion.noise import NoiseModel, Prediction


def reshape_sigma(sigma: Any, dims: int) -> Any:
    return sigma.reshape(sigma.shape[:1] + (1,) * (dims - 1)) if sigma.nelement() != 1 else sigma


def rescale_zero_terminal_snr_sigmas(sigmas: Any) -> Any:
    return ours.zero_terminal_snr(sigmas)


def time_snr_shift(alpha: float, t: Any) -> Any:
    return t if alpha == 1.0 else alpha * t / (1 + (alpha - 1) * t)


def flux_time_shift(mu: float, sigma: float, t: Any) -> Any:
    return math.exp(mu) / (math.exp(mu) + (1 / t - 1) ** sigma)


class EPS:
    """The net predicts the noise."""

    def calculate_input(self, sigma: Any, noise: Any) -> Any:
        sigma = reshape_sigma(sigma, noise.ndim)
        return noise / (sigma**2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
        return model_input - model_output * reshape_sigma(sigma, model_output.ndim)

    def noise_scaling(self, sigma: Any, noise: Any, latent_image: Any, max_denoise: bool = False) -> Any:
        sigma = reshape_sigma(sigma, noise.ndim)
        return noise * (torch.sqrt(1.0 + sigma**2.0) if max_denoise else sigma) + latent_image

    def inverse_noise_scaling(self, sigma: Any, latent: Any) -> Any:
        return latent


class V_PREDICTION(EPS):
    """The net predicts v."""

    def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
        sigma = reshape_sigma(sigma, model_output.ndim)
        both = sigma**2 + self.sigma_data**2
        return model_input * self.sigma_data**2 / both - model_output * sigma * self.sigma_data / both**0.5


class EDM(V_PREDICTION):
    """v with the opposite sign."""

    def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
        sigma = reshape_sigma(sigma, model_output.ndim)
        both = sigma**2 + self.sigma_data**2
        return model_input * self.sigma_data**2 / both + model_output * sigma * self.sigma_data / both**0.5


class X0(EPS):
    def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
        return model_output


class IMG_TO_IMG(X0):
    def calculate_input(self, sigma: Any, noise: Any) -> Any:
        return noise


class CONST:
    """Rectified flow."""

    def calculate_input(self, sigma: Any, noise: Any) -> Any:
        return noise

    def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
        return model_input - model_output * reshape_sigma(sigma, model_output.ndim)

    def noise_scaling(self, sigma: Any, noise: Any, latent_image: Any, max_denoise: bool = False) -> Any:
        sigma = reshape_sigma(sigma, noise.ndim)
        return sigma * noise + (1.0 - sigma) * latent_image

    def inverse_noise_scaling(self, sigma: Any, latent: Any) -> Any:
        return latent / (1.0 - reshape_sigma(sigma, latent.ndim))


class COSMOS_RFLOW(EPS):
    def calculate_input(self, sigma: Any, noise: Any) -> Any:
        return noise / (1 + reshape_sigma(sigma, noise.ndim))

    def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
        sigma = reshape_sigma(sigma, model_output.ndim)
        return (model_input - model_output * sigma) / (1 + sigma)


class _Base(torch.nn.Module):
    sigma_data = 1.0

    def _settings(self, model_config: Any) -> dict[str, Any]:
        return dict(getattr(model_config, "sampling_settings", None) or {})


class ModelSamplingDiscrete(_Base):
    """A table of trained noise levels; the clock is its index."""

    def __init__(self, model_config: Any = None, zsnr: bool | None = None) -> None:
        super().__init__()
        given = self._settings(model_config)
        name = {"linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}.get(given.get("beta_schedule", "linear"), "linear")
        steps = int(given.get("timesteps", 1000))
        beta = ours.betas(name, steps, given.get("linear_start", 0.00085), given.get("linear_end", 0.012))
        self.num_timesteps = steps
        self.linear_start, self.linear_end = given.get("linear_start", 0.00085), given.get("linear_end", 0.012)
        self.zsnr = bool(given.get("zsnr", False) if zsnr is None else zsnr)
        sigmas = ours.sigmas_of(torch.cumprod(1 - beta, 0))
        self.set_sigmas(rescale_zero_terminal_snr_sigmas(sigmas) if self.zsnr else sigmas)

    def set_sigmas(self, sigmas: Any) -> None:
        for name in ("sigmas", "log_sigmas"):
            self._buffers.pop(name, None)
        self.register_buffer("sigmas", sigmas.float())
        self.register_buffer("log_sigmas", sigmas.log().float())

    @property
    def sigma_min(self) -> Any:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Any:
        return self.sigmas[-1]

    def timestep(self, sigma: Any) -> Any:
        distances = sigma.log().to(self.log_sigmas.device) - self.log_sigmas[:, None]
        return distances.abs().argmin(dim=0).view(sigma.shape).to(sigma.device)

    def sigma(self, timestep: Any) -> Any:
        t = torch.clamp(timestep.float().to(self.log_sigmas.device), min=0, max=len(self.sigmas) - 1)
        low, high, w = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp().to(timestep.device)

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0.0:
            return 999999999.9
        return 0.0 if percent >= 1.0 else self.sigma(torch.tensor((1.0 - percent) * 999.0)).item()


class ModelSamplingContinuousEDM(_Base):
    """Any noise level between two bounds."""

    def __init__(self, model_config: Any = None) -> None:
        super().__init__()
        given = self._settings(model_config)
        self.set_parameters(given.get("sigma_min", 0.002), given.get("sigma_max", 120.0), given.get("sigma_data", 1.0))

    def set_parameters(self, sigma_min: float, sigma_max: float, sigma_data: float) -> None:
        self.sigma_data = sigma_data
        sigmas = torch.linspace(math.log(sigma_min), math.log(sigma_max), 1000).exp()
        for name in ("sigmas", "log_sigmas"):
            self._buffers.pop(name, None)
        self.register_buffer("sigmas", sigmas)
        self.register_buffer("log_sigmas", sigmas.log())

    @property
    def sigma_min(self) -> Any:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Any:
        return self.sigmas[-1]

    def timestep(self, sigma: Any) -> Any:
        return 0.25 * sigma.log()

    def sigma(self, timestep: Any) -> Any:
        return (timestep / 0.25).exp()

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0.0:
            return 999999999.9
        if percent >= 1.0:
            return 0.0
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return math.exp(high + (low - high) * percent)


class ModelSamplingContinuousV(ModelSamplingContinuousEDM):
    def timestep(self, sigma: Any) -> Any:
        return sigma.atan() / math.pi * 2

    def sigma(self, timestep: Any) -> Any:
        return (timestep * math.pi / 2).tan()


class ModelSamplingDiscreteFlow(_Base):
    """Rectified flow with a shifted clock."""

    def __init__(self, model_config: Any = None) -> None:
        super().__init__()
        given = self._settings(model_config)
        self.set_parameters(given.get("shift", 1.0), given.get("multiplier", 1000))

    def set_parameters(self, shift: float = 1.0, timesteps: int = 1000, multiplier: float = 1000) -> None:
        self.shift, self.multiplier = shift, multiplier
        self._buffers.pop("sigmas", None)
        self.register_buffer("sigmas", self.sigma(torch.arange(1, timesteps + 1) / timesteps * multiplier))

    @property
    def sigma_min(self) -> Any:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Any:
        return self.sigmas[-1]

    def timestep(self, sigma: Any) -> Any:
        return sigma * self.multiplier

    def sigma(self, timestep: Any) -> Any:
        return time_snr_shift(self.shift, timestep / self.multiplier)

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0.0:
            return 1.0
        return 0.0 if percent >= 1.0 else time_snr_shift(self.shift, 1.0 - percent)


class ModelSamplingFlux(ModelSamplingDiscreteFlow):
    """The same with a shift that is given as a logarithm; the clock is sigma."""

    def __init__(self, model_config: Any = None) -> None:
        _Base.__init__(self)
        self.set_parameters(shift=self._settings(model_config).get("shift", 1.15))

    def set_parameters(self, shift: float = 1.15, timesteps: int = 10000) -> None:
        self.shift, self.multiplier = shift, 1.0
        self._buffers.pop("sigmas", None)
        self.register_buffer("sigmas", self.sigma(torch.arange(1, timesteps + 1) / timesteps))

    def timestep(self, sigma: Any) -> Any:
        return sigma

    def sigma(self, timestep: Any) -> Any:
        return flux_time_shift(self.shift, 1.0, timestep)

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0.0:
            return 1.0
        return 0.0 if percent >= 1.0 else flux_time_shift(self.shift, 1.0, 1.0 - percent)


class _FromOurs(_Base):
    """A noise model of ours under these names. `ours` is the model itself."""

    def __init__(self, model: NoiseModel) -> None:
        torch.nn.Module.__init__(self)
        object.__setattr__(self, "ours", model)
        self.multiplier = getattr(model, "multiplier", 1000)
        self.shift = getattr(model, "shift", 1.0)
        self.num_timesteps = len(model.sigmas)
        self.register_buffer("sigmas", model.sigmas)
        self.register_buffer("log_sigmas", model.sigmas.log())

    sigma_min = ModelSamplingDiscrete.sigma_min
    sigma_max = ModelSamplingDiscrete.sigma_max

    def set_sigmas(self, sigmas: Any) -> None:
        ModelSamplingDiscrete.set_sigmas(self, sigmas)
        object.__setattr__(self, "ours", ours.DiscreteNoise(self.ours.prediction, sigmas.float()))

    def timestep(self, sigma: Any) -> Any:
        return self.ours.timestep(sigma)

    def sigma(self, timestep: Any) -> Any:
        return self.ours.sigma(timestep)

    def percent_to_sigma(self, percent: float) -> float:
        return self.ours.percent_to_sigma(percent)

    def calculate_input(self, sigma: Any, noise: Any) -> Any:
        return self.ours.prediction.net_input(noise, sigma.to(noise.device))

    def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
        return self.ours.prediction.denoised(model_input, model_output, sigma.to(model_output.device))


_KINDS = {"eps": EPS, "v": V_PREDICTION, "edm": EDM, "x0": X0, "flow": CONST, "img_to_img": IMG_TO_IMG, "cosmos_rflow": COSMOS_RFLOW}
_TABLES = {
    ours.DiscreteNoise: ModelSamplingDiscrete,
    ours.Flow: ModelSamplingDiscreteFlow,
    ours.ContinuousNoise: ModelSamplingContinuousEDM,
}


def dress(model: NoiseModel) -> Any:
    """A noise model of ours; its class also says what kind of prediction and table it is."""
    if isinstance(model, ForeignNoise):
        return model.foreign
    table = next((foreign for kind, foreign in _TABLES.items() if isinstance(model, kind)), _Base)
    cls = type("ModelSampling", (_FromOurs, table, _KINDS.get(model.prediction.name, EPS)), {})
    return cls(model)


class _ForeignPrediction(Prediction):
    """What a foreign object makes of the net's answer."""

    __slots__ = ("foreign",)

    def __init__(self, foreign: Any) -> None:
        flow = isinstance(foreign, CONST)
        super().__init__(f"foreign {type(foreign).__name__}", ours._one, ours._one, lambda s: -s, flow)
        object.__setattr__(self, "foreign", foreign)

    def net_input(self, x: Any, sigma: Any) -> Any:
        return self.foreign.calculate_input(sigma.reshape(-1).to(x.device), x)

    def denoised(self, x: Any, output: Any, sigma: Any) -> Any:
        return self.foreign.calculate_denoised(sigma.reshape(-1).to(x.device), output, x)


class ForeignNoise(NoiseModel):
    """A pack's `model_sampling` object as a noise model."""

    def __init__(self, foreign: Any) -> None:
        super().__init__(_ForeignPrediction(foreign), foreign.sigmas.float().cpu())
        object.__setattr__(self, "foreign", foreign)

    @property
    def sigma_min(self) -> float:
        return float(self.foreign.sigma_min)

    @property
    def sigma_max(self) -> float:
        return float(self.foreign.sigma_max)

    def timestep(self, sigma: Any) -> Any:
        return self.foreign.timestep(sigma)

    def sigma(self, timestep: Any) -> Any:
        return self.foreign.sigma(timestep)

    def percent_to_sigma(self, percent: float) -> float:
        return float(self.foreign.percent_to_sigma(percent))

    def noised(self, clean: Any, noise: Any, sigma: float) -> Any:
        top = sigma > self.sigma_max or math.isclose(sigma, self.sigma_max, rel_tol=1e-5)
        return self.foreign.noise_scaling(torch.tensor(sigma, device=noise.device), noise, clean, top)

    def unscaled(self, x: Any, sigma: float) -> Any:
        return self.foreign.inverse_noise_scaling(torch.tensor(sigma, device=x.device), x)


def undress(foreign: Any) -> NoiseModel:
    """The noise model behind a `model_sampling` object."""
    own = getattr(foreign, "ours", None) if isinstance(foreign, _FromOurs) else None
    return own if own is not None else ForeignNoise(foreign)
