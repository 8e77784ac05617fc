"""Solvers by name, and what travels on a SAMPLER wire. A file here is a family of solvers, each a plain function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.base.errors import BadInput
from backend.diffusion.samplers import (
    adams,
    consistency,
    ddpm,
    dpm_2,
    dpm_solver,
    dpmpp,
    dpmpp_sde,
    er_sde,
    euler,
    gradient_estimation,
    heun,
    inversion,
    res_multistep,
    sa_solver,
    seeds,
    uni_pc,
)
from backend.diffusion.samplers.solver import Denoise, Guided, OnStep, Sampler, Step

__all__ = ["EXTRA", "SAMPLERS", "Denoise", "Guided", "OnStep", "Sampler", "Solver", "Step", "solver"]

SAMPLERS: dict[str, Sampler] = {
    "euler": euler.euler,
    "euler_cfg_pp": euler.euler_cfg_pp,
    "euler_ancestral": euler.euler_ancestral,
    "euler_ancestral_cfg_pp": euler.euler_ancestral_cfg_pp,
    "heun": heun.heun,
    "heunpp2": heun.heunpp2,
    "dpm_2": dpm_2.dpm_2,
    "dpm_2_ancestral": dpm_2.dpm_2_ancestral,
    "lms": adams.lms,
    "dpm_fast": dpm_solver.dpm_fast,
    "dpm_adaptive": dpm_solver.dpm_adaptive,
    "dpmpp_2s_ancestral": dpmpp.dpmpp_2s_ancestral,
    "dpmpp_2s_ancestral_cfg_pp": dpmpp.dpmpp_2s_ancestral_cfg_pp,
    "dpmpp_sde": dpmpp_sde.dpmpp_sde,
    "dpmpp_sde_gpu": dpmpp_sde.dpmpp_sde_gpu,
    "dpmpp_2m": dpmpp.dpmpp_2m,
    "dpmpp_2m_cfg_pp": dpmpp.dpmpp_2m_cfg_pp,
    "dpmpp_2m_sde": dpmpp_sde.dpmpp_2m_sde,
    "dpmpp_2m_sde_gpu": dpmpp_sde.dpmpp_2m_sde_gpu,
    "dpmpp_2m_sde_heun": dpmpp_sde.dpmpp_2m_sde_heun,
    "dpmpp_2m_sde_heun_gpu": dpmpp_sde.dpmpp_2m_sde_heun_gpu,
    "dpmpp_3m_sde": dpmpp_sde.dpmpp_3m_sde,
    "dpmpp_3m_sde_gpu": dpmpp_sde.dpmpp_3m_sde_gpu,
    "ddpm": ddpm.ddpm,
    "lcm": consistency.lcm,
    "ipndm": adams.ipndm,
    "ipndm_v": adams.ipndm_v,
    "deis": adams.deis,
    "res_multistep": res_multistep.res_multistep,
    "res_multistep_cfg_pp": res_multistep.res_multistep_cfg_pp,
    "res_multistep_ancestral": res_multistep.res_multistep_ancestral,
    "res_multistep_ancestral_cfg_pp": res_multistep.res_multistep_ancestral_cfg_pp,
    "gradient_estimation": gradient_estimation.gradient_estimation,
    "gradient_estimation_cfg_pp": gradient_estimation.gradient_estimation_cfg_pp,
    "er_sde": er_sde.er_sde,
    "seeds_2": seeds.seeds_2,
    "seeds_3": seeds.seeds_3,
    "sa_solver": sa_solver.sa_solver,
    "sa_solver_pece": sa_solver.sa_solver_pece,
    "ddim": euler.euler,
    "uni_pc": uni_pc.uni_pc,
    "uni_pc_bh2": uni_pc.uni_pc_bh2,
}
"""In the order of the published list. `ddim` is Euler: they are the same step; only what a mask keeps is noised differently."""

EXTRA: dict[str, Sampler] = {
    "pndm": adams.pndm,
    "plms": adams.pndm,
    "tcd": consistency.tcd,
    "ddim_inversion": inversion.ddim_inversion,
    "lcm_upscale": inversion.lcm_upscale,
    "euler_cfg_pp_alternative": euler.euler_cfg_pp_alternative,
}
"""Kept apart: the published list is part of the interface."""


@dataclass(frozen=True)
class Solver:
    """A solver with its options bound. `fresh_mask_noise`: what a mask keeps is noised with other noise than the sampling began with."""

    name: str
    run: Sampler
    options: Mapping[str, Any] = field(default_factory=dict)
    fresh_mask_noise: bool = False


def solver(name: str, **options: Any) -> Solver:
    """The solver `name` with `options`. Raises BadInput for an unknown name."""
    run = SAMPLERS.get(name) or EXTRA.get(name)
    if run is None:
        raise BadInput(f"There is no sampler named {name!r}.", hint=f"Choose one of {', '.join(SAMPLERS)}.", input="sampler_name")
    return Solver(name, run, options, fresh_mask_noise=name == "ddim")
