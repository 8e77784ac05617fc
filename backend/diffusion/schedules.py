"""Sigma schedules by name: which noise levels a sampling visits.

A schedule is a CPU fp32 tensor, descending, normally `steps + 1` long and ending in 0. Schedulers of `SCHEDULERS` read a noise model;
those of `curves` are formulas in sigma.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.curves import exponential, karras, kl_optimal, log_interpolate, with_zero
from backend.diffusion.gits import LONGEST, levels
from backend.diffusion.noise import NoiseModel

Scheduler = Callable[[NoiseModel, int], Tensor]


def simple(noise: NoiseModel, steps: int) -> Tensor:
    """Every n-th trained sigma, from the noisiest down."""
    stride = len(noise.sigmas) / steps
    return with_zero([float(noise.sigmas[-1 - int(i * stride)]) for i in range(steps)])


def _timesteps(noise: NoiseModel) -> tuple[Tensor, Tensor]:
    ends = noise.timestep(torch.tensor([noise.sigma_max, noise.sigma_min])).float()
    return ends[0], ends[1]


def _already_zero(sigma: float) -> bool:
    return math.isclose(sigma, 0.0, abs_tol=1e-5)


def normal(noise: NoiseModel, steps: int) -> Tensor:
    """Equal steps of the net's clock from the first to the last timestep, then zero. A model whose last sigma is zero ends there."""
    start, end = _timesteps(noise)
    ends_at_zero = _already_zero(float(noise.sigma(end)))
    sigmas = noise.sigma(torch.linspace(float(start), float(end), steps + 1 if ends_at_zero else steps)).tolist()
    return torch.tensor(sigmas) if ends_at_zero else with_zero(sigmas)


def sgm_uniform(noise: NoiseModel, steps: int) -> Tensor:
    """As `normal`, but the equal steps would reach the last timestep one step later ("trailing" spacing)."""
    start, end = _timesteps(noise)
    return with_zero(noise.sigma(torch.linspace(float(start), float(end), steps + 1)[:-1]).tolist())


def ddim_uniform(noise: NoiseModel, steps: int) -> Tensor:
    """Every floor(n / steps)-th timestep counted from 1: the spacing of the first DDIM code. Its length follows from the stride."""
    table = noise.sigmas
    ends_at_zero = _already_zero(float(table[1]))
    stride = max(len(table) // (steps + 1 if ends_at_zero else steps), 1)
    picked = table[1::stride].flip(0).tolist()
    return torch.tensor(picked) if ends_at_zero else with_zero(picked)


def beta(noise: NoiseModel, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Timesteps at quantiles of a Beta distribution: denser at both ends (Lee et al. 2024). Repeated timesteps are visited once."""
    from scipy.stats import beta as distribution  # here: scipy is slow to import

    last = len(noise.sigmas) - 1
    # rint rounds halves to even, as the reference does
    at = [round(float(q) * last) for q in distribution.ppf([1 - i / steps for i in range(steps)], alpha, beta)]
    kept = [t for i, t in enumerate(at) if i == 0 or t != at[i - 1]]
    return with_zero([float(noise.sigmas[t]) for t in kept])


def linear_quadratic(noise: NoiseModel, steps: int, threshold: float = 0.025) -> Tensor:
    """Linear in the first half until `threshold` of the noise is gone, quadratic after (Polyak et al. 2024, Movie Gen)."""
    if steps == 1:
        return torch.tensor([1.0, 0.0]) * noise.sigma_max
    linear = steps // 2
    slope = threshold / linear
    rest = linear - threshold * steps
    square = rest / (linear * (steps - linear) ** 2)
    straight = slope - 2 * rest / (steps - linear) ** 2
    done = [slope * i for i in range(linear)]
    done += [square * i * i + straight * i + square * linear**2 for i in range(linear, steps)]
    return torch.tensor([1 - d for d in [*done, 1.0]]) * noise.sigma_max


SCHEDULERS: dict[str, Scheduler] = {
    "simple": simple,
    "sgm_uniform": sgm_uniform,
    "karras": lambda noise, steps: karras(steps, noise.sigma_min, noise.sigma_max),
    "exponential": lambda noise, steps: exponential(steps, noise.sigma_min, noise.sigma_max),
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "normal": normal,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": lambda noise, steps: kl_optimal(steps, noise.sigma_min, noise.sigma_max),
}
"""In the order of the published list."""

DROPS_PENULTIMATE = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
"""Solvers that are unstable at the smallest sigma: they get a schedule one longer, without its last positive sigma."""


def schedule(name: str, noise: NoiseModel, steps: int) -> Tensor:
    """The schedule `name` for `steps` steps. Raises BadInput for an unknown name or no steps."""
    if name not in SCHEDULERS:
        raise BadInput(f"There is no scheduler named {name!r}.", hint=f"Choose one of {', '.join(SCHEDULERS)}.", input="scheduler")
    if steps < 1:
        raise BadInput(f"A schedule needs at least 1 step, not {steps}.", input="steps")
    return SCHEDULERS[name](noise, steps)


def sampling_sigmas(noise: NoiseModel, scheduler: str, steps: int, sampler: str = "", denoise: float = 1.0) -> Tensor:
    """The sigmas of a whole sampling: `denoise` below 1 plans int(steps / denoise) steps and keeps the last `steps` of them."""
    if denoise <= 0:
        return torch.empty(0)
    planned = steps if denoise > 0.9999 else int(steps / denoise)
    if sampler in DROPS_PENULTIMATE:
        longer = schedule(scheduler, noise, planned + 1)
        sigmas = torch.cat([longer[:-2], longer[-1:]])
    else:
        sigmas = schedule(scheduler, noise, planned)
    return sigmas if denoise > 0.9999 else sigmas[-(steps + 1) :]


def turbo(noise: NoiseModel, steps: int, denoise: float = 1.0) -> Tensor:
    """The few timesteps adversarially distilled models were trained at: 999, 899, ... (Sauer et al. 2023)."""
    start = 10 - int(10 * denoise)
    timesteps = torch.arange(999, -1, -100)[start : start + steps]
    return with_zero(noise.sigma(timesteps).tolist())


SPACINGS = ("leading", "linspace", "trailing")


def spaced(noise: NoiseModel, steps: int, spacing: str = "trailing", offset: int = 0) -> Tensor:
    """The integer timestep spacings of Lin et al. 2023, table 2: "leading" (from 0, plus `offset`), "linspace", "trailing"."""
    count = len(noise.sigmas)
    if spacing == "leading":
        timesteps = (torch.arange(steps) * (count // steps)).flip(0).float() + offset
    elif spacing == "linspace":
        timesteps = torch.linspace(0, count - 1, steps, dtype=torch.float64).flip(0).float()
    elif spacing == "trailing":
        timesteps = torch.tensor([round(count - i * count / steps) - 1 for i in range(steps)]).float()
    else:
        raise BadInput(f"There is no timestep spacing named {spacing!r}.", hint=f"Choose one of {', '.join(SPACINGS)}.")
    return with_zero(noise.sigma(timesteps).tolist())


def of_timesteps(noise: NoiseModel, timesteps: list[float]) -> Tensor:
    """A schedule through the given timesteps of the net's clock, then zero."""
    return with_zero(noise.sigma(torch.tensor(timesteps, dtype=torch.float32)).tolist())


ALIGNED = {
    "SD1": (14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904, 0.6523686016, 0.3977456272,
            0.1515232662, 0.0291671582),
    "SDXL": (14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289, 0.3798540708,
             0.2332364134, 0.1114188177, 0.0291671582),
    "SVD": (700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}  # fmt: skip
"""Ten-step schedules optimised per model (Sabour et al. 2024, Align Your Steps)."""

OPTIMAL = {
    "FLUX": (0.9968, 0.9886, 0.9819, 0.975, 0.966, 0.9471, 0.9158, 0.8287, 0.5512, 0.2808, 0.001),
    "Wan": (1.0, 0.997, 0.995, 0.993, 0.991, 0.989, 0.987, 0.985, 0.98, 0.975, 0.973, 0.968, 0.96, 0.946, 0.927, 0.902, 0.864, 0.776,
            0.539, 0.208, 0.001),
    "Chroma": (0.992, 0.99, 0.988, 0.985, 0.982, 0.978, 0.973, 0.968, 0.961, 0.953, 0.943, 0.931, 0.917, 0.9, 0.881, 0.858, 0.832, 0.802,
               0.769, 0.731, 0.69, 0.646, 0.599, 0.55, 0.501, 0.451, 0.402, 0.355, 0.311, 0.27, 0.232, 0.199, 0.169, 0.143, 0.12, 0.101,
               0.084, 0.07, 0.058, 0.048, 0.001),
}  # fmt: skip
"""Schedules found by searching for the few steps that come closest to many (Pei et al. 2025, Optimal Stepsize for Diffusion Sampling)."""


def align_your_steps(model: str, steps: int, denoise: float = 1.0) -> Tensor:
    """The published schedule of `model`, log-linearly resampled to `steps`; the last sigma is replaced by 0."""
    return resampled(ALIGNED[model], steps, denoise)


def optimal_steps(model: str, steps: int, denoise: float = 1.0) -> Tensor:
    """As `align_your_steps`, by the schedules of optimal steps."""
    return resampled(OPTIMAL[model], steps, denoise)


def gits(coefficient: float, steps: int, denoise: float = 1.0) -> Tensor:
    """Geometry-inspired time scheduling (Chen et al. 2024); beyond twenty steps the longest row, resampled log-linearly."""
    return resampled(levels(coefficient, min(steps, LONGEST)), steps, denoise)


def resampled(table: Sequence[float], steps: int, denoise: float) -> Tensor:
    """`table` log-linearly resampled to `steps`, the last `denoise` of them; the last sigma is replaced by 0."""
    if denoise <= 0:
        return torch.empty(0)
    kept = steps if denoise >= 1 else round(steps * denoise)
    sigmas = torch.tensor(table) if steps + 1 == len(table) else log_interpolate(table, steps + 1)
    sigmas = sigmas[-(kept + 1) :].clone()
    sigmas[-1] = 0
    return sigmas
