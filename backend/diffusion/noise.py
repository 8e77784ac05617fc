"""How noise is added and what a net predicts: every training convention written as x0 = skip(s) x + out(s) net(cin(s) x).

After Karras et al. 2022 (EDM), table 1. A `NoiseModel` adds the sigmas a model was trained at and its clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from backend.diffusion.path import Path

Scale = Callable[[Tensor], Tensor]

BEFORE_ALL = 999999999.9
"""The sigma that stands for "before sampling starts": larger than any model's."""


def broadcast(sigma: Tensor, x: Tensor) -> Tensor:
    """sigma [B] shaped so that it multiplies x [B, ...]. A scalar is left one: on the host, it multiplies x on any device."""
    return sigma if sigma.ndim == 0 else sigma.reshape(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a net's output means. Scales take sigma and are broadcast over the latent; `flow` selects x = (1-s) x0 + s eps."""

    name: str
    cin: Scale
    skip: Scale
    out: Scale
    flow: bool = False

    def net_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What the net is shown of x [B, ...] at sigma [B]."""
        return x * self.cin(broadcast(sigma, x))

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """The clean estimate x0 from the net's output; all [B, ...], sigma [B]."""
        s = broadcast(sigma, x)
        return x * self.skip(s) + output * self.out(s)

    def blend(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) with x = a x0 + b eps at sigma."""
        return (1 - sigma if self.flow else torch.ones_like(sigma)), sigma


def _one(s: Tensor) -> Tensor:
    return torch.ones_like(s)


def _cin(sigma_data: float) -> Scale:
    return lambda s: (s * s + sigma_data**2).rsqrt()


def _skip(sigma_data: float) -> Scale:
    return lambda s: sigma_data**2 / (s * s + sigma_data**2)


def _out(sigma_data: float, sign: float) -> Scale:
    return lambda s: sign * s * sigma_data * (s * s + sigma_data**2).rsqrt()


def eps() -> Prediction:
    """The net predicts the noise (Ho et al. 2020)."""
    return Prediction("eps", _cin(1.0), _one, lambda s: -s)


def v(sigma_data: float = 1.0) -> Prediction:
    """The net predicts v = alpha eps - sigma x0 (Salimans & Ho 2022)."""
    return Prediction("v", _cin(sigma_data), _skip(sigma_data), _out(sigma_data, -1.0))


def edm(sigma_data: float = 0.5) -> Prediction:
    """EDM preconditioning (Karras et al. 2022, table 1): v with the opposite sign and the data's own deviation."""
    return Prediction("edm", _cin(sigma_data), _skip(sigma_data), _out(sigma_data, 1.0))


def x0() -> Prediction:
    """The net predicts the clean latent; its input is scaled as for eps."""
    return Prediction("x0", _cin(1.0), torch.zeros_like, _one)


def image_to_image() -> Prediction:
    """The net maps its unscaled input straight to the answer (Lotus and similar one-step estimators)."""
    return Prediction("img_to_img", _one, torch.zeros_like, _one)


def flow() -> Prediction:
    """Rectified flow (Liu et al. 2022): the net predicts the velocity eps - x0, sigma is time in 0..1."""
    return Prediction("flow", _one, _one, lambda s: -s, flow=True)


def cosmos_flow() -> Prediction:
    """A flow net read on the variance exploding axis: t = s / (1 + s)."""
    return Prediction("cosmos_rflow", lambda s: 1 / (1 + s), lambda s: 1 / (1 + s), lambda s: -s / (1 + s))


def lcm(timestep: Scale, sigma_data: float = 0.5, scaling: float = 10.0) -> Prediction:
    """Latent consistency boundary conditions around a noise predicting net (Luo et al. 2023, appendix C): the answer is
    c_skip x + c_out (x - s eps), with c_skip and c_out functions of `scaling` times the timestep."""

    def c_skip(s: Tensor) -> Tensor:
        return sigma_data**2 / ((scaling * timestep(s)) ** 2 + sigma_data**2)

    def c_out(s: Tensor) -> Tensor:
        t = scaling * timestep(s)
        return t * (t * t + sigma_data**2).rsqrt()

    return Prediction("lcm", _cin(1.0), lambda s: c_skip(s) + c_out(s), lambda s: -s * c_out(s))


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """The sigmas a model knows. `sigmas` ascends; `timestep` and `sigma` convert between the net's clock and sigma."""

    prediction: Prediction
    sigmas: Tensor = field(repr=False)

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    @property
    def path(self) -> Path:
        """What solvers are told."""
        return Path(self.prediction.flow, self.percent_to_sigma)

    def timestep(self, sigma: Tensor) -> Tensor:
        """The net's clock at sigma, elementwise."""
        raise NotImplementedError

    def sigma(self, timestep: Tensor) -> Tensor:
        """Sigma at a (fractional) clock value, elementwise."""
        raise NotImplementedError

    def percent_to_sigma(self, percent: float) -> float:
        """Sigma once `percent` (0..1) of sampling is done: at most 0 is before everything, at least 1 is after it."""
        raise NotImplementedError

    def noised(self, clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """The latent to start from. Starting at the top of a variance exploding model, noise gets the deviation of the whole
        noised signal, sqrt(1 + sigma^2), because training saw data there too."""
        if self.prediction.flow:
            return noise * sigma + clean * (1.0 - sigma)
        top = sigma > self.sigma_max or math.isclose(sigma, self.sigma_max, rel_tol=1e-5)
        return noise * (math.sqrt(1.0 + sigma * sigma) if top else sigma) + clean

    def unscaled(self, x: Tensor, sigma: float) -> Tensor:
        """The result as a latent others can go on with: a flow that stopped early leaves (1 - sigma) x0, which is undone."""
        return x / (1.0 - sigma) if self.prediction.flow and sigma < 1 else x


def betas(name: str, count: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Training beta schedules, fp64 [count].

    "linear" and "scaled_linear" (linear in the square root; Rombach et al. 2022), "squaredcos_cap_v2" (Nichol & Dhariwal 2021).
    """
    if name == "linear":
        return torch.linspace(start, end, count, dtype=torch.float64)
    if name == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    if name == "squaredcos_cap_v2":
        t = torch.arange(count + 1, dtype=torch.float64) / count
        bar = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
    raise ValueError(f"There is no beta schedule named {name!r}.")


def sigmas_of(alphas_cumprod: Tensor) -> Tensor:
    """sqrt((1 - a) / a): a variance preserving table seen on the variance exploding axis."""
    return ((1 - alphas_cumprod) / alphas_cumprod) ** 0.5


def zero_terminal_snr(sigmas: Tensor) -> Tensor:
    """Shift and scale sqrt(alpha bar) so that the last step is pure noise (Lin et al. 2023, algorithm 1).

    The very last sigma would be infinite; it gets alpha bar 4.8973451890853435e-08, the ecosystem's stand-in, or less where the table
    is below that already."""
    root = (1 / (sigmas.double() ** 2 + 1)).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    bar = ((root - last) * first / (first - last)) ** 2
    bar[-1] = min(4.8973451890853435e-08, float(bar[-2]) / 4)
    return sigmas_of(bar).to(sigmas.dtype)


@dataclass(frozen=True, eq=False)
class DiscreteNoise(NoiseModel):
    """A table of trained sigmas; the clock is the index of the nearest one in log sigma (`nearest`), or lies between two."""

    nearest: bool = True
    log_sigmas: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_sigmas", self.sigmas.log())

    @classmethod
    def from_betas(cls, betas: Tensor, prediction: Prediction | None = None, zero_snr: bool = False) -> DiscreteNoise:
        """The table of a training schedule; `zero_snr` rescales it to zero terminal SNR."""
        sigmas = sigmas_of(torch.cumprod(1 - betas.double(), 0)).float()
        return cls(prediction or eps(), zero_terminal_snr(sigmas) if zero_snr else sigmas)

    def timestep(self, sigma: Tensor) -> Tensor:
        table = self.log_sigmas.to(sigma.device)
        at = sigma.float().log().reshape(-1)
        if self.nearest:
            return (at[None] - table[:, None]).abs().argmin(0).reshape(sigma.shape)
        low = (torch.searchsorted(table, at) - 1).clamp(0, len(table) - 2)
        weight = ((at - table[low]) / (table[low + 1] - table[low])).clamp(0, 1)
        return (low + weight).reshape(sigma.shape)

    def sigma(self, timestep: Tensor) -> Tensor:
        table = self.log_sigmas.to(timestep.device)
        t = timestep.float().clamp(0, len(table) - 1)
        low, weight = t.floor().long(), t.frac()
        return ((1 - weight) * table[low] + weight * table[t.ceil().long()]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0:
            return BEFORE_ALL
        return 0.0 if percent >= 1 else float(self.sigma(torch.tensor((1 - percent) * 999.0)))


@dataclass(frozen=True, eq=False)
class DistilledNoise(DiscreteNoise):
    """A model distilled onto every `stride`-th timestep of its teacher (latent consistency models: 50 of 1000)."""

    stride: int = 20

    @classmethod
    def of(cls, teacher: NoiseModel, count: int = 50) -> DistilledNoise:
        """Keep `count` of the teacher's sigmas, from the top down, and predict through the consistency boundary."""
        stride = len(teacher.sigmas) // count
        kept = teacher.sigmas.flip(0)[: stride * count : stride].flip(0).contiguous()
        plain = cls(eps(), kept, stride=stride)
        return cls(lcm(lambda s: plain.timestep(s).float()), kept, stride=stride)

    def timestep(self, sigma: Tensor) -> Tensor:
        return super().timestep(sigma) * self.stride + self.stride - 1

    def sigma(self, timestep: Tensor) -> Tensor:
        return super().sigma((timestep.float() - (self.stride - 1)) / self.stride)


@dataclass(frozen=True, eq=False)
class ContinuousNoise(NoiseModel):
    """Any sigma between two bounds; percent is linear in log sigma. `clock` and `clock_inverse` are the net's time."""

    clock: Scale = lambda s: 0.25 * s.log()
    clock_inverse: Scale = lambda t: (t / 0.25).exp()

    def timestep(self, sigma: Tensor) -> Tensor:
        return self.clock(sigma)

    def sigma(self, timestep: Tensor) -> Tensor:
        return self.clock_inverse(timestep)

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0:
            return BEFORE_ALL
        if percent >= 1:
            return 0.0
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return math.exp(high + (low - high) * percent)


def _log_spaced(low: float, high: float) -> Tensor:
    return torch.linspace(math.log(low), math.log(high), 1000).exp()


def continuous_edm(prediction: Prediction | None = None, sigma_min: float = 0.002, sigma_max: float = 120.0) -> ContinuousNoise:
    """EDM: the clock is a quarter of log sigma (Karras et al. 2022)."""
    return ContinuousNoise(prediction or edm(), _log_spaced(sigma_min, sigma_max))


def continuous_v(prediction: Prediction | None = None, sigma_min: float = 0.03, sigma_max: float = 500.0) -> ContinuousNoise:
    """v diffusion on the cosine clock: t = atan(sigma) 2/pi."""
    return ContinuousNoise(
        prediction or v(), _log_spaced(sigma_min, sigma_max), lambda s: s.atan() / math.pi * 2, lambda t: (t * math.pi / 2).tan()
    )


@dataclass(frozen=True, eq=False)
class CosmosNoise(ContinuousNoise):
    """A flow's noise is what its clock says, at the top too: (1 - t) (x0 + s eps) = (1 - t) x0 + t eps for t = s / (1 + s)."""

    def noised(self, clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
        return noise * sigma + clean


def cosmos_noise(sigma_min: float = 0.002, sigma_max: float = 120.0) -> ContinuousNoise:
    """`cosmos_flow` with its clock s / (1 + s)."""
    return CosmosNoise(cosmos_flow(), _log_spaced(sigma_min, sigma_max), lambda s: s / (s + 1), lambda t: t / (1 - t))


@dataclass(frozen=True, eq=False)
class Flow(NoiseModel):
    """Rectified flow with its time axis bent towards the noisy end.

    `shift` a: t -> a t / (1 + (a - 1) t) (Esser et al. 2024, eq. 23). With `mu` instead: exp(mu) / (exp(mu) + 1/t - 1), the same
    curve with a = exp(mu), as resolution dependent shifting is usually written. The net's clock is sigma times `multiplier`.
    """

    shift: float = 1.0
    multiplier: float = 1000.0

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma * self.multiplier

    def sigma(self, timestep: Tensor) -> Tensor:
        t = timestep / self.multiplier
        return self.shift * t / (1 + (self.shift - 1) * t)

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0:
            return 1.0
        t = 1 - percent
        return 0.0 if percent >= 1 else self.shift * t / (1 + (self.shift - 1) * t)


def flow_noise(shift: float = 1.0, multiplier: float = 1000.0, count: int = 1000, mu: float | None = None) -> Flow:
    """A flow with `count` tabulated sigmas; `mu` is log shift and wins over `shift`."""
    bend = math.exp(mu) if mu is not None else shift
    empty = Flow(flow(), torch.empty(0), bend, multiplier)
    return Flow(flow(), empty.sigma(torch.arange(1, count + 1) / count * multiplier), bend, multiplier)
