"""Solvers with their options."""

from __future__ import annotations

from functools import partial
from typing import Any

from backend.base.errors import BadInput
from backend.diffusion.samplers import solver
from backend.diffusion.samplers.sa_solver import tau_between
from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Combo, Float, Int, Wired, node
from nodes.sampling import SAMPLER_NAMES
from nodes.types import Model, SamplerWire

solver_node = partial(node, category="sampling/custom_sampling/samplers", module="comfy_extras.nodes_custom_sampler")
ours = partial(node, category="sampling/custom_sampling/samplers", module="nodes")


def _number(default: float, max: float = 100.0) -> Any:
    return Float(default, min=0.0, max=max, step=0.01, round=False)


def _on(device: str) -> str:
    """The suffix of solvers that draw their Brownian noise on the device instead of the CPU."""
    return "_gpu" if device == "gpu" else ""


@solver_node("KSamplerSelect")
def ksampler_select(ctx: Context, *, sampler_name: str = Choice(SAMPLER_NAMES)) -> SamplerWire:
    """A solver with its usual options."""
    return solver(sampler_name)


@solver_node("SamplerEulerAncestral")
def sampler_euler_ancestral(ctx: Context, *, eta: float = _number(1.0), s_noise: float = _number(1.0)) -> SamplerWire:
    """Euler steps with fresh noise; eta is how much of it."""
    return solver("euler_ancestral", eta=eta, s_noise=s_noise)


@solver_node("SamplerEulerAncestralCFGPP", title="SamplerEulerAncestralCFG++")
def sampler_euler_ancestral_cfg_pp(ctx: Context, *, eta: float = _number(1.0, 1.0), s_noise: float = _number(1.0, 10.0)) -> SamplerWire:
    """Euler steps with CFG++ guidance and fresh noise."""
    return solver("euler_ancestral_cfg_pp", eta=eta, s_noise=s_noise)


@solver_node("SamplerLMS")
def sampler_lms(ctx: Context, *, order: int = Int(4, min=1, max=100)) -> SamplerWire:
    """Linear multistep of a chosen order."""
    return solver("lms", order=order)


@solver_node("SamplerDPMPP_3M_SDE")
def sampler_dpmpp_3m_sde(
    ctx: Context, *, eta: float = _number(1.0), s_noise: float = _number(1.0), noise_device: str = Choice(["gpu", "cpu"])
) -> SamplerWire:
    """DPM-Solver++ of third order with noise."""
    return solver("dpmpp_3m_sde" + _on(noise_device), eta=eta, s_noise=s_noise)


@solver_node("SamplerDPMPP_2M_SDE")
def sampler_dpmpp_2m_sde(
    ctx: Context,
    *,
    solver_type: str = Choice(["midpoint", "heun"]),
    eta: float = _number(1.0),
    s_noise: float = _number(1.0),
    noise_device: str = Choice(["gpu", "cpu"]),
) -> SamplerWire:
    """DPM-Solver++ of second order with noise."""
    return solver("dpmpp_2m_sde" + _on(noise_device), eta=eta, s_noise=s_noise, solver_type=solver_type)


@solver_node("SamplerDPMPP_SDE")
def sampler_dpmpp_sde(
    ctx: Context,
    *,
    eta: float = _number(1.0),
    s_noise: float = _number(1.0),
    r: float = _number(0.5),
    noise_device: str = Choice(["gpu", "cpu"]),
) -> SamplerWire:
    """DPM-Solver++ with two evaluations a step and noise; r places the second one."""
    if r == 0:
        raise BadInput("r is 0: the second evaluation would be the first again.", hint="Use 0.5.", node=ctx.node, input="r")
    return solver("dpmpp_sde" + _on(noise_device), eta=eta, s_noise=s_noise, r=r)


@solver_node("SamplerDPMPP_2S_Ancestral")
def sampler_dpmpp_2s_ancestral(ctx: Context, *, eta: float = _number(1.0), s_noise: float = _number(1.0)) -> SamplerWire:
    """DPM-Solver++ with two evaluations a step and fresh noise."""
    return solver("dpmpp_2s_ancestral", eta=eta, s_noise=s_noise)


@solver_node("SamplerDPMAdaptative")
def sampler_dpm_adaptive(
    ctx: Context,
    *,
    order: int = Int(3, min=2, max=3),
    rtol: float = _number(0.05),
    atol: float = _number(0.0078),
    h_init: float = _number(0.05),
    pcoeff: float = _number(0.0),
    icoeff: float = _number(1.0),
    dcoeff: float = _number(0.0),
    accept_safety: float = _number(0.81),
    eta: float = _number(0.0),
    s_noise: float = _number(1.0),
) -> SamplerWire:
    """DPM-Solver that chooses its own steps within error tolerances; the schedule only gives first and last sigma."""
    return solver(
        "dpm_adaptive", order=order, rtol=rtol, atol=atol, h_init=h_init, pcoeff=pcoeff, icoeff=icoeff, dcoeff=dcoeff,
        accept_safety=accept_safety, eta=eta, s_noise=s_noise,
    )  # fmt: skip


@solver_node("SamplerER_SDE")
def sampler_er_sde(
    ctx: Context,
    *,
    solver_type: str = Combo(["ER-SDE", "Reverse-time SDE", "ODE"], multiselect=None),
    max_stage: int = Int(3, min=1, max=3),
    eta: float = Float(1.0, min=0.0, max=100.0, step=0.01, round=False, tooltip="How much noise the reverse-time SDE adds; 0 adds none."),
    s_noise: float = _number(1.0),
) -> SamplerWire:
    """Extended reverse-time SDE solver of up to third order."""
    return solver("er_sde", solver_type=solver_type, max_stage=max_stage, eta=eta, s_noise=s_noise)


@solver_node("SamplerSASolver")
def sampler_sa_solver(
    ctx: Context,
    *,
    model: Model = Wired(tooltip="The model whose noise levels the two percentages refer to."),
    eta: float = _number(1.0, 10.0),
    sde_start_percent: float = Float(0.2, min=0.0, max=1.0, step=0.001),
    sde_end_percent: float = Float(0.8, min=0.0, max=1.0, step=0.001),
    s_noise: float = _number(1.0),
    predictor_order: int = Int(3, min=1, max=6),
    corrector_order: int = Int(4, min=0, max=6),
    use_pece: bool = Bool(tooltip="Evaluate the model again after the correction."),
    simple_order_2: bool = Bool(tooltip="Use simpler weights where the order is 2."),
) -> SamplerWire:
    """Stochastic Adams predictor and corrector; noise is added between the two percentages."""
    start, end = model.noise.percent_to_sigma(sde_start_percent), model.noise.percent_to_sigma(sde_end_percent)
    return solver(
        "sa_solver", tau=tau_between(start, end, eta), s_noise=s_noise, predictor_order=predictor_order, corrector_order=corrector_order,
        use_pece=use_pece, simple_order_2=simple_order_2,
    )  # fmt: skip


@ours("SamplerPNDM")
def sampler_pndm(ctx: Context) -> SamplerWire:
    """Pseudo linear multistep, also called PLMS (Liu et al. 2022); takes whole timesteps best (TimestepSpacingScheduler)."""
    return solver("pndm")


@ours("SamplerTCD")
def sampler_tcd(ctx: Context, *, eta: float = Float(0.3, min=0.0, max=1.0, step=0.01)) -> SamplerWire:
    """Trajectory consistency sampling (Zheng et al. 2024) for models distilled for it; eta is how much fresh noise a step adds."""
    return solver("tcd", eta=eta)


@node(
    "SamplerEulerCFGpp",
    title="SamplerEulerCFG++",
    category="_for_testing",
    module="comfy_extras.nodes_advanced_samplers",
    form="v3",
    experimental=True,
)
def sampler_euler_cfg_pp(ctx: Context, *, version: str = Combo(["regular", "alternative"])) -> SamplerWire:
    """Euler steps with CFG++ guidance, without fresh noise."""
    return solver("euler_cfg_pp" if version == "regular" else "euler_cfg_pp_alternative")


@ours("SamplerLCM")
def sampler_lcm(
    ctx: Context,
    *,
    s_noise: float = Float(1.0, min=0.0, max=100.0, step=0.01, tooltip="How strong the fresh noise is at the first step."),
    s_noise_end: float = Float(1.0, min=0.0, max=100.0, step=0.01, tooltip="How strong it is at the last step that adds any."),
    noise_clip_std: float = Float(
        0.0, min=0.0, max=100.0, step=0.1, tooltip="Cut the noise off at so many of its standard deviations; 0 leaves it as it is."
    ),
) -> SamplerWire:
    """Consistency sampling for distilled models: answer, then fresh noise up to the next level."""
    return solver("lcm", s_noise=s_noise, s_noise_end=s_noise_end, clip=noise_clip_std)
