"""`comfy.samplers`: guiders, samplers and schedules as packs use, subclass and extend them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.utils
from backend.diffusion.guiders import BasicGuider, CfgGuider, Guess, Guidance
from backend.diffusion.guiders.guidance import before, combine, tapped
from backend.diffusion.sample import prepare_conds
from backend.diffusion.sample import sample as run_sampling
from backend.diffusion.samplers import EXTRA as _EXTRA
from backend.diffusion.samplers import SAMPLERS as _SAMPLERS
from backend.diffusion.samplers import Solver, Step, solver
from backend.diffusion.schedules import DROPS_PENULTIMATE, SCHEDULERS
from backend.packs.facade import Dressed
from backend.packs.host import HOST
from comfy._run import RoleConds, running
from comfy._taps import FromPack, current, net_taps, taps_of
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers

SAMPLER_NAMES: list[str] = list(_SAMPLERS)
KSAMPLER_NAMES: list[str] = [n for n in SAMPLER_NAMES if n not in ("ddim", "uni_pc", "uni_pc_bh2")]


class SchedulerHandler(NamedTuple):
    handler: Any
    use_ms: bool = True


def _ours(name: str) -> Any:
    return lambda model_sampling, steps: calculate_sigmas(model_sampling, name, steps)


SCHEDULER_HANDLERS: dict[str, SchedulerHandler] = {name: SchedulerHandler(_ours(name)) for name in SCHEDULERS}
SCHEDULER_NAMES: list[str] = list(SCHEDULER_HANDLERS)


def calculate_sigmas(model_sampling: Any, scheduler_name: str, steps: int) -> Any:
    """A schedule by name for a `model_sampling` object, packs' own ones included."""
    from comfy.model_sampling import undress

    if scheduler_name in SCHEDULERS:
        return SCHEDULERS[scheduler_name](undress(model_sampling), steps)
    handler = SCHEDULER_HANDLERS.get(scheduler_name)
    if handler is None:
        raise ValueError(f"There is no scheduler named {scheduler_name!r}.")
    if handler.use_ms:
        return handler.handler(model_sampling, steps)
    return handler.handler(n=steps, sigma_min=float(model_sampling.sigma_min), sigma_max=float(model_sampling.sigma_max))


calculate_sigmas_scheduler = calculate_sigmas


def simple_scheduler(model_sampling: Any, steps: int) -> Any:
    return calculate_sigmas(model_sampling, "simple", steps)


def ddim_scheduler(model_sampling: Any, steps: int) -> Any:
    return calculate_sigmas(model_sampling, "ddim_uniform", steps)


def normal_scheduler(model_sampling: Any, steps: int, sgm: bool = False, floor: bool = False) -> Any:
    return calculate_sigmas(model_sampling, "sgm_uniform" if sgm else "normal", steps)


def beta_scheduler(model_sampling: Any, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Any:
    from backend.diffusion.schedules import beta as ours
    from comfy.model_sampling import undress

    return ours(undress(model_sampling), steps, alpha, beta)


def linear_quadratic_schedule(model_sampling: Any, steps: int, threshold_noise: float = 0.025, linear_steps: int | None = None) -> Any:
    return calculate_sigmas(model_sampling, "linear_quadratic", steps)


def kl_optimal_scheduler(n: int, sigma_min: float, sigma_max: float) -> Any:
    from backend.diffusion.curves import kl_optimal

    return kl_optimal(n, sigma_min, sigma_max)


# -- asking the net


def calc_cond_batch(model: Any, conds: Any, x_in: Any, timestep: Any, model_options: Any) -> list[Any]:
    """x0 for each conditioning (None: zeros), through the wrappers that `model_options` holds."""
    wrappers = get_all_wrappers(WrappersMP.CALC_COND_BATCH, model_options, is_model_options=True)
    found = current()
    if any(isinstance(t, FromPack) and t.options is model_options for t in found.model.taps.get("predict", ())):
        wrappers = []  # the engine calls them itself
    return WrapperExecutor.new_executor(calc_cond_batch_plain, wrappers).execute(model, conds, x_in, timestep, model_options)


def calc_cond_batch_plain(model: Any, conds: Any, x_in: Any, timestep: Any, model_options: Any) -> list[Any]:
    found = current()
    sigma = timestep.detach().float().cpu().reshape(-1)
    sigma = sigma.expand(x_in.shape[0]) if sigma.numel() == 1 else sigma
    added = _added_taps(found, model, model_options)
    roles = [None if c is None else _role(found, c, x_in) for c in conds]
    asked = list(dict.fromkeys(r for r in roles if r is not None))
    answers = dict(zip(asked, found.ask(x_in, sigma, asked, **({"taps": added} if added else {})))) if asked else {}
    return [torch.zeros_like(x_in) if role is None else answers[role] for role in roles]


def _added_taps(found: Any, model: Any, model_options: Any) -> dict[str, Any]:
    """Net patches in `model_options` that the model of this sampling does not have."""
    patcher = getattr(model, "current_patcher", None)
    known = patcher.model_options.get("transformer_options", {}) if patcher is not None else {}
    wanted = (model_options or {}).get("transformer_options", {})
    if all(wanted.get(g, {}) == known.get(g, {}) for g in ("patches", "patches_replace")):
        return {}
    new = {
        "patches": {n: [f for f in fs if f not in known.get("patches", {}).get(n, [])] for n, fs in wanted.get("patches", {}).items()},
        "patches_replace": {
            n: {p: f for p, f in places.items() if known.get("patches_replace", {}).get(n, {}).get(p) is not f}
            for n, places in wanted.get("patches_replace", {}).items()
        },
    }
    holder = _Options({"transformer_options": {k: v for k, v in wanted.items() if k not in ("patches", "patches_replace")}}, model)
    return {name: taps for name, taps in net_taps(holder, new).items() if taps}


class _Options:
    """Options for the length of one question."""

    def __init__(self, model_options: Any, model: Any) -> None:
        self.model_options, self.model = model_options, model


def _role(found: Any, conds: Any, x: Any) -> str:
    """The role of a conditioning. One that a pack made itself is prepared now and gets a role of its own."""
    role = getattr(conds, "role", None)
    if role is not None:
        return role
    for name, known in found.conds.items():
        if known is conds:
            return name
    denoiser = getattr(found.ask, "__self__", None)
    if denoiser is None or not hasattr(denoiser, "roles"):
        raise RuntimeError(
            "This pack asks the net about conditioning of its own while other patches wrap the question, which is not possible."
        )
    name = f"pack {len(denoiser.roles)}"
    made = prepare_conds(denoiser.model, {name: comfy.sampler_helpers.conditioning_of(conds)}, x.shape, x.device)
    denoiser.roles = {**denoiser.roles, **made}
    return name


def cfg_function(
    model: Any,
    cond_pred: Any,
    uncond_pred: Any,
    cond_scale: float,
    x: Any,
    timestep: Any,
    model_options: Any = None,
    cond: Any = None,
    uncond: Any = None,
) -> Any:
    """Guidance with the functions that `model_options` holds."""
    found = current()
    handle = _handle(found, model, model_options)
    found.uncond = uncond_pred
    return combine(Guidance(x, timestep.detach().float().cpu(), cond_pred, uncond_pred, cond_scale, handle, found.conds, ask=found.ask))


def _handle(found: Any, model: Any, model_options: Any) -> Any:
    """The model of this sampling with the guidance functions of `model_options` where these are others."""
    patcher = getattr(model, "current_patcher", None)
    if model_options is None or (patcher is not None and patcher.model_options is model_options):
        return found.model
    taps = {
        n: tuple(t for t in ts if not isinstance(t, FromPack)) for n, ts in found.model.taps.items() if n in ("cfg", "pre_cfg", "post_cfg")
    }
    for name, more in taps_of(_Options(model_options, model)).items():
        if name in ("cfg", "pre_cfg", "post_cfg"):
            taps[name] = (*taps.get(name, ()), *more)
    return replace(found.model, taps={**found.model.taps, **taps})


def sampling_function(
    model: Any, x: Any, timestep: Any, uncond: Any, cond: Any, cond_scale: float, model_options: Any = None, seed: int | None = None
) -> Any:
    """One guided prediction, x0 [B, C, ...]."""
    options = model_options if model_options is not None else {}
    found = current()
    needed = not math.isclose(cond_scale, 1.0) or options.get("disable_cfg1_optimization", False) or found.model.taps.get("needs_uncond")
    outs = calc_cond_batch(model, [cond, uncond if needed else None], x, timestep, options)
    handle = _handle(found, model, options)
    sigma = timestep.detach().float().cpu()
    guidance = Guidance(x, sigma, outs[0], outs[1], cond_scale, handle, found.conds, ask=found.ask)
    outs = before(guidance, outs)
    found.uncond = outs[1]
    return combine(replace(guidance, cond=outs[0], uncond=outs[1] if needed else None))


# -- guiders


class CFGGuider(Dressed):
    """Guidance as packs subclass it: override `predict_noise`, call `set_conds`, `inner_set_conds`, `sample`."""

    def __init__(self, model_patcher: Any) -> None:
        self.model_patcher = model_patcher
        self.model_options = model_patcher.model_options
        self.original_conds: dict[str, Any] = {}
        self.conds: dict[str, Any] = {}
        self.cfg = 1.0
        self.inner_model: Any = None
        self.loaded_models: list[Any] = []

    def set_conds(self, positive: Any, negative: Any) -> None:
        self.inner_set_conds({"positive": positive, "negative": negative})

    def set_cfg(self, cfg: float) -> None:
        self.cfg = cfg

    def inner_set_conds(self, conds: Mapping[str, Any]) -> None:
        for role, cond in conds.items():
            self.original_conds[role] = comfy.sampler_helpers.convert_cond(cond)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.outer_predict_noise(*args, **kwargs)

    def outer_predict_noise(self, x: Any, timestep: Any, model_options: Any = None, seed: int | None = None) -> Any:
        wrappers = get_all_wrappers(WrappersMP.PREDICT_NOISE, self.model_options, is_model_options=True)
        executor = WrapperExecutor.new_class_executor(self.predict_noise, self, wrappers)
        return executor.execute(x, timestep, self.model_options if model_options is None else model_options, seed)

    def predict_noise(self, x: Any, timestep: Any, model_options: Any = None, seed: int | None = None) -> Any:
        return sampling_function(
            self.inner_model, x, timestep, self.conds.get("negative"), self.conds.get("positive"), self.cfg,
            model_options=self.model_options if model_options is None else model_options, seed=seed,
        )  # fmt: skip

    def sample(
        self, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, denoise_mask: Any = None, callback: Any = None, disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Any:  # fmt: skip
        """Sample; the latent as nodes see it."""
        if sigmas.shape[-1] == 0:
            return latent_image
        return self.outer_sample(noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)

    def outer_sample(
        self, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, denoise_mask: Any = None, callback: Any = None, disable_pbar: bool = False,
        seed: int | None = None, latent_shapes: Any = None,
    ) -> Any:  # fmt: skip
        total = max(1, len(sigmas) - 1)

        def on_step(step: Step) -> None:
            if callback is not None:
                callback(step.i, step.denoised, step.x, total)
            else:
                HOST.context().check()

        return run_sampling(
            self.undressed(), noise, latent_image, undress_sampler(sampler), sigmas, denoise_mask, pool=HOST.services.pool, on_step=on_step,
            seed=seed or 0,
        )  # fmt: skip

    def undressed(self) -> Any:
        return PackGuider(self)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            HOST.want(f"comfy.samplers.CFGGuider.{name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class PackGuider:
    """A foreign guider as one of ours."""

    def __init__(self, foreign: CFGGuider) -> None:
        self.foreign = foreign
        patcher = foreign.model_patcher
        if foreign.model_options is not patcher.model_options:
            patcher = patcher.clone()
            patcher.model_options = foreign.model_options
        self.patcher = patcher
        self.model = patcher.undressed()
        self.conds = {role: comfy.sampler_helpers.conditioning_of(c) for role, c in foreign.original_conds.items()}

    def predict(self, ask: Any, x: Any, sigma: Any, both: bool = False) -> Guess:
        foreign = self.foreign
        foreign.inner_model = self.patcher.model
        foreign.conds = {role: RoleConds(role, c) for role, c in self.conds.items()}
        with running(tapped(self.model, self.conds, ask), self.model, self.conds) as found:
            options = {**foreign.model_options, "disable_cfg1_optimization": True} if both else foreign.model_options
            denoised = foreign(x, sigma.to(x.device), options, None)
            if both and found.uncond is None:
                found.uncond = denoised
        return Guess(denoised, denoised if found.uncond is None else found.uncond)


class _OurGuider(CFGGuider):
    """A guider of ours under this name; unchanged it is handed back as it was."""

    def __init__(self, guider: Any) -> None:
        super().__init__(comfy.model_patcher.dress(guider.model))
        self.ours = guider
        self.cfg = getattr(guider, "cfg", 1.0)
        self.inner_set_conds(guider.conds)
        self._was = (self.cfg, {k: id(v) for k, v in self.original_conds.items()}, self.model_patcher)

    def undressed(self) -> Any:
        now = (self.cfg, {k: id(v) for k, v in self.original_conds.items()}, self.model_patcher)
        conds = {role: comfy.sampler_helpers.conditioning_of(c) for role, c in self.original_conds.items()}
        if now[:2] == self._was[:2] and now[2] is self._was[2]:
            return replace(self.ours, model=self.model_patcher.undressed())
        if isinstance(self.ours, CfgGuider):
            return CfgGuider(self.model_patcher.undressed(), conds["positive"], conds.get("negative", []), self.cfg)
        return PackGuider(self)


def plain_guider(guider: Any, patcher: Any) -> Any:
    """A guider of ours as a foreign one run by us, so that what wraps its predictions is called. Other kinds than plain guidance stay."""
    if not isinstance(guider, (CfgGuider, BasicGuider)):
        return guider
    foreign = CFGGuider(patcher)
    foreign.inner_set_conds(guider.conds)
    foreign.set_cfg(getattr(guider, "cfg", 1.0))
    made = PackGuider(foreign)
    made.model = guider.model
    return made


def dress_guider(guider: Any) -> CFGGuider:
    return guider.foreign if isinstance(guider, PackGuider) else _OurGuider(guider)


# -- samplers


class Sampler:
    """What a SAMPLER wire carries; packs may bring their own `sample`."""

    def sample(self) -> Any:
        raise NotImplementedError

    def max_denoise(self, model_wrap: Any, sigmas: Any) -> bool:
        top = float(model_wrap.inner_model.model_sampling.sigma_max)
        return math.isclose(top, float(sigmas[0]), rel_tol=1e-05) or float(sigmas[0]) > top


class _Inner:
    """What packs reach through `model.inner_model` inside a sampler function: the guider, and below it the model."""

    def __init__(self, guider: Any) -> None:
        self.model_patcher = comfy.model_patcher.dress(guider.model)
        self.cfg = getattr(guider, "cfg", 1.0)
        self.conds = {role: RoleConds(role, c) for role, c in getattr(guider, "conds", {}).items()}
        self.inner_model = self.model_patcher.model
        self.model_options = self.model_patcher.model_options
        self.model_sampling = self.inner_model.model_sampling

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner_model, name)


class ModelX0:
    """The model a sampler function calls: model(x, sigma [B], **extra_args) -> x0."""

    def __init__(self, ours: Any, sigmas: Any) -> None:
        self.ours, self.sigmas = ours, sigmas
        bound = getattr(ours, "inner", ours)
        guider = getattr(bound, "guider", None)
        self.guider = guider
        foreign = getattr(guider, "foreign", None)
        if foreign is not None:
            foreign.inner_model = guider.patcher.model
            foreign.conds = {role: RoleConds(role, c) for role, c in guider.conds.items()}
        self.inner_model: Any = foreign if foreign is not None else _Inner(guider) if guider is not None else None
        self.denoise_mask = getattr(ours, "mask", None)
        self.latent_image, self.noise = getattr(ours, "clean", None), getattr(ours, "noise", None)

    def __call__(self, x: Any, sigma: Any, model_options: Any = None, seed: Any = None, denoise_mask: Any = None, **kwargs: Any) -> Any:
        host = sigma.detach().float().cpu().reshape(-1)
        host = host.expand(x.shape[0]) if host.numel() == 1 else host
        known = self.inner_model.model_options if self.inner_model is not None else None
        added = [
            f
            for f in (model_options or {}).get("sampler_post_cfg_function", [])
            if known is not None and f not in known.get("sampler_post_cfg_function", [])
        ]
        if not added:
            return self.ours(x, host)
        denoised, uncond = self.ours.pair(x, host)
        for f in added:
            args = {
                "denoised": denoised, "cond": None, "uncond": None, "cond_scale": getattr(self.guider, "cfg", 1.0), "input": x, "sigma": sigma,
                "model": self.inner_model.inner_model, "uncond_denoised": uncond, "cond_denoised": denoised, "model_options": model_options,
            }  # fmt: skip
            denoised = f(args)
        return denoised


class KSAMPLER(Sampler, Dressed):
    """A sampler function of the k-diffusion shape with its options."""

    def __init__(self, sampler_function: Any, extra_options: Any = None, inpaint_options: Any = None) -> None:
        self.sampler_function = sampler_function
        self.extra_options = dict(extra_options or {})
        self.inpaint_options = dict(inpaint_options or {})

    def sample(
        self, model_wrap: Any, sigmas: Any, extra_args: Any, callback: Any, noise: Any, latent_image: Any = None, denoise_mask: Any = None,
        disable_pbar: bool = False,
    ) -> Any:  # fmt: skip
        """For code that calls a sampler itself, with a model of its own; no mask is kept."""
        total = len(sigmas) - 1

        def told(d: Any) -> None:
            if callback is not None:
                callback(d["i"], d["denoised"], d["x"], total)

        x = noise * float(sigmas[0]) if latent_image is None else latent_image + noise * float(sigmas[0])
        return self.sampler_function(
            model_wrap, x, sigmas, extra_args=extra_args, callback=told, disable=disable_pbar, **self.extra_options
        )

    def undressed(self) -> Solver:
        name = getattr(self.sampler_function, "__name__", "sampler")
        own = getattr(self.sampler_function, "solver", None)
        if own is not None:
            return solver(own, **self.extra_options)
        fresh = bool(self.inpaint_options.get("random"))
        return Solver(name, k_solver(self.sampler_function), self.extra_options, fresh)


def k_solver(function: Any) -> Any:
    """A sampler function of the k-diffusion shape as a solver of ours."""
    accepted = inspect.signature(function).parameters

    def run(model: Any, x: Any, sigmas: Any, *, noise: Any, on_step: Any, path: Any, **options: Any) -> Any:
        wrapped = ModelX0(model, sigmas)
        inner = wrapped.inner_model
        extra = {"model_options": inner.model_options if inner is not None else {}, "seed": getattr(noise, "seed", None)}

        def callback(d: Any) -> None:
            sigma = float(d["sigma"]) if "sigma" in d else float(sigmas[d["i"]])
            on_step(Step(int(d["i"]), sigma, float(d.get("sigma_hat", sigma)), d["x"], d["denoised"]))

        given = {"extra_args": extra, "callback": callback, "disable": True}
        open_ended = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
        given = {k: v for k, v in given.items() if open_ended or k in accepted}
        return function(wrapped, x, sigmas.to(x.device), **given, **options)

    run.foreign = function
    return run


class _OwnSampler(Dressed):
    """A sampler that is no function: it brings `sample(model_wrap, sigmas, extra_args, callback, noise, latent_image, mask)`."""

    def __init__(self, foreign: Any) -> None:
        self.foreign = foreign

    def undressed(self) -> Solver:
        def run(model: Any, x: Any, sigmas: Any, *, noise: Any, on_step: Any, path: Any, **options: Any) -> Any:
            wrapped = ModelX0(model, sigmas)
            inner = wrapped.inner_model

            def callback(i: Any, x0: Any, x: Any, total: Any) -> None:
                on_step(Step(int(i), float(sigmas[int(i)]), float(sigmas[int(i)]), x, x0))

            extra = {"model_options": inner.model_options if inner is not None else {}, "seed": getattr(noise, "seed", None)}
            start = x / float(sigmas[0]) if float(sigmas[0]) else x
            return self.foreign.sample(inner or wrapped, sigmas.to(x.device), extra, callback, start, None, None, True)

        return Solver(type(self.foreign).__name__, run)


def undress_sampler(value: Any) -> Any:
    """A SAMPLER of either world as a solver of ours."""
    if isinstance(value, Solver):
        return value
    return value.undressed() if isinstance(value, Dressed) else _OwnSampler(value).undressed()


def dress_solver(value: Solver) -> KSAMPLER:
    """A solver of ours as a sampler function."""
    foreign = getattr(value.run, "foreign", None)
    if foreign is not None:
        return KSAMPLER(foreign, value.options)
    from comfy.k_diffusion.sampling import function_of

    return KSAMPLER(function_of(value.name, value.run), value.options, {"random": True} if value.fresh_mask_noise else {})


def ksampler(sampler_name: str, extra_options: Any = None, inpaint_options: Any = None) -> KSAMPLER:
    """The sampler of that name; packs' own ones are found as `comfy.k_diffusion.sampling.sample_<name>`."""
    from comfy.k_diffusion import sampling

    function = getattr(sampling, f"sample_{sampler_name}")
    return KSAMPLER(function, extra_options, inpaint_options)


def sampler_object(name: str) -> KSAMPLER:
    return ksampler("euler", inpaint_options={"random": True}) if name == "ddim" else ksampler(name)


def process_conds(
    model: Any, noise: Any, conds: Any, device: Any, latent_image: Any = None, denoise_mask: Any = None, seed: Any = None, **kwargs: Any
) -> Any:
    return conds


def sample(
    model: Any, noise: Any, positive: Any, negative: Any, cfg: float, device: Any, sampler: Any, sigmas: Any, model_options: Any = None,
    latent_image: Any = None, denoise_mask: Any = None, callback: Any = None, disable_pbar: bool = False, seed: int | None = None,
) -> Any:  # fmt: skip
    guider = CFGGuider(model)
    if model_options:
        guider.model_options = model_options
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider.sample(noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)


class KSampler:
    """A whole sampling by names. `SAMPLERS` and `SCHEDULERS` are lists that packs append to."""

    SCHEDULERS = SCHEDULER_NAMES
    SAMPLERS = SAMPLER_NAMES
    DISCARD_PENULTIMATE_SIGMA_SAMPLERS: set[str] = set(DROPS_PENULTIMATE)  # noqa: RUF012

    def __init__(
        self,
        model: Any,
        steps: int,
        device: Any = None,
        sampler: Any = None,
        scheduler: Any = None,
        denoise: Any = None,
        model_options: Any = None,
    ) -> None:
        self.model = model
        self.device = device
        self.scheduler = scheduler if scheduler in self.SCHEDULERS else self.SCHEDULERS[0]
        self.sampler = sampler if sampler in self.SAMPLERS else self.SAMPLERS[0]
        self.model_options = model_options or {}
        self.denoise = denoise
        self.set_steps(steps, denoise)

    def calculate_sigmas(self, steps: int) -> Any:
        sampling = self.model.get_model_object("model_sampling")
        if self.sampler in self.DISCARD_PENULTIMATE_SIGMA_SAMPLERS:
            longer = calculate_sigmas(sampling, self.scheduler, steps + 1)
            return torch.cat([longer[:-2], longer[-1:]])
        return calculate_sigmas(sampling, self.scheduler, steps)

    def set_steps(self, steps: int, denoise: float | None = None) -> None:
        self.steps = steps
        if denoise is None or denoise > 0.9999:
            self.sigmas = self.calculate_sigmas(steps)
        elif denoise <= 0.0:
            self.sigmas = torch.FloatTensor([])
        else:
            self.sigmas = self.calculate_sigmas(int(steps / denoise))[-(steps + 1) :]

    def sample(
        self, noise: Any, positive: Any, negative: Any, cfg: float, latent_image: Any = None, start_step: int | None = None,
        last_step: int | None = None, force_full_denoise: bool = False, denoise_mask: Any = None, sigmas: Any = None, callback: Any = None,
        disable_pbar: bool = False, seed: int | None = None,
    ) -> Any:  # fmt: skip
        sigmas = self.sigmas if sigmas is None else sigmas
        if last_step is not None and last_step < len(sigmas) - 1:
            sigmas = sigmas[: last_step + 1].clone()
            if force_full_denoise:
                sigmas[-1] = 0
        if start_step is not None:
            if start_step >= len(sigmas) - 1:
                return latent_image if latent_image is not None else torch.zeros_like(noise)
            sigmas = sigmas[start_step:]
        return sample(
            self.model, noise, positive, negative, cfg, self.device, sampler_object(self.sampler), sigmas, self.model_options or None,
            latent_image=latent_image, denoise_mask=denoise_mask, callback=callback, disable_pbar=disable_pbar, seed=seed,
        )  # fmt: skip


def register_new() -> tuple[list[str], list[str]]:
    """Make the samplers and schedulers that packs added known to the application; their names."""
    from comfy.k_diffusion import sampling

    solvers = []
    for name in dict.fromkeys([*KSampler.SAMPLERS, *SAMPLER_NAMES, *KSAMPLER_NAMES]):
        function = vars(sampling).get(f"sample_{name}")
        if name in _SAMPLERS or name in _EXTRA or function is None:
            continue
        _SAMPLERS[name] = k_solver(function)
        solvers.append(name)
    schedules = []
    for name, handler in SCHEDULER_HANDLERS.items():
        if name not in SCHEDULERS:
            SCHEDULERS[name] = _as_schedule(handler)
            schedules.append(name)
    return solvers, schedules


def _as_schedule(handler: SchedulerHandler) -> Any:
    from comfy.model_sampling import dress

    def schedule(noise: Any, steps: int) -> Any:
        if handler.use_ms:
            return handler.handler(dress(noise), steps).float().cpu()
        return handler.handler(n=steps, sigma_min=noise.sigma_min, sigma_max=noise.sigma_max).float().cpu()

    return schedule
