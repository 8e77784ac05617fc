"""Foreign patch functions as taps. Every tap made here is a FromPack, so that it can be told from the application's own."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import torch

from comfy._run import RUNNING, role_conds, running
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers

NAMES = {"context": "c_crossattn", "concat": "c_concat"}
BACK = {foreign: own for own, foreign in NAMES.items()}


class FromPack:
    """A tap around a pack's function."""

    def __init__(self, function: Any, patcher: Any) -> None:
        self.function, self.patcher = function, patcher

    @property
    def options(self) -> dict[str, Any]:
        return self.patcher.model_options

    def told(self, facts: Any) -> dict[str, Any]:
        """The options a patch is told: those of the model, and the facts of the place."""
        return {**self.patcher.model_options.get("transformer_options", {}), **facts}


class NetPatch(FromPack):
    """f(*values, options) inside the net."""

    def __call__(self, *values: Any) -> Any:
        return self.function(*values[:-1], self.told(values[-1]))


class Cfg(FromPack):
    """`sampler_cfg_function`: answers in x - x0."""

    def __call__(self, guidance: Any) -> Any:
        x = guidance.x
        uncond = guidance.uncond if guidance.uncond is not None else torch.zeros_like(guidance.cond)
        conds = guidance.conds
        args = {
            "cond": x - guidance.cond, "uncond": x - uncond, "cond_scale": guidance.scale, "timestep": _sigma(guidance), "input": x,
            "sigma": _sigma(guidance), "cond_denoised": guidance.cond, "uncond_denoised": uncond, "model": self.patcher.model,
            "model_options": self.options, "input_cond": role_conds(conds, "positive"), "input_uncond": role_conds(conds, "negative"),
        }  # fmt: skip
        with running(guidance.ask, guidance.model, conds):
            return x - self.function(args)


class PostCfg(FromPack):
    def __call__(self, guidance: Any) -> Any:
        conds = guidance.conds
        uncond = guidance.uncond if guidance.uncond is not None else torch.zeros_like(guidance.cond)
        args = {
            "denoised": guidance.denoised, "cond": role_conds(conds, "positive"), "uncond": role_conds(conds, "negative"),
            "cond_scale": guidance.scale, "model": self.patcher.model, "uncond_denoised": uncond, "cond_denoised": guidance.cond,
            "sigma": _sigma(guidance), "model_options": self.options, "input": guidance.x,
        }  # fmt: skip
        with running(guidance.ask, guidance.model, conds):
            return self.function(args)


class PreCfg(FromPack):
    def __call__(self, guidance: Any, outs: Any) -> Any:
        conds = guidance.conds
        both = list(outs) if len(outs) > 1 else [outs[0], torch.zeros_like(outs[0])]
        args = {
            "conds": [role_conds(conds, "positive"), role_conds(conds, "negative")], "conds_out": both, "cond_scale": guidance.scale,
            "timestep": _sigma(guidance), "input": guidance.x, "sigma": _sigma(guidance), "model": self.patcher.model,
            "model_options": self.options,
        }  # fmt: skip
        with running(guidance.ask, guidance.model, conds):
            return list(self.function(args))[: len(outs)]


def _sigma(guidance: Any) -> Any:
    return guidance.sigma.to(guidance.x.device)


class Predict(FromPack):
    """`sampler_calc_cond_batch_function` and the wrappers of the same place."""

    def __call__(self, ask: Any, x: Any, sigma: Any, roles: Any, conds: Any) -> Any:
        from comfy.samplers import calc_cond_batch_plain

        listed = [role_conds(conds, role) for role in roles]
        sigma = sigma.to(x.device)
        with running(ask, self.patcher.undressed(), conds):
            wrappers = get_all_wrappers(WrappersMP.CALC_COND_BATCH, self.options, is_model_options=True)
            inner = self._function if self.function is not None else calc_cond_batch_plain
            return WrapperExecutor.new_executor(inner, wrappers).execute(self.patcher.model, listed, x, sigma, self.options)

    def _function(self, model: Any, conds: Any, x: Any, sigma: Any, model_options: Any) -> Any:
        return self.function({"conds": conds, "input": x, "sigma": sigma, "model": model, "model_options": model_options})


class Apply(FromPack):
    """`model_function_wrapper` and the wrappers around a run of the net."""

    def __call__(self, inner: Any, x: Any, sigma: Any, inputs: Any, roles: Any) -> Any:
        told = self.told({**inputs.get("facts", {}), "cond_or_uncond": list(roles), "sigmas": sigma.to(x.device)})
        c = {NAMES.get(k, k): v for k, v in inputs.items() if k not in ("taps", "facts")}
        c["transformer_options"] = told
        own = inputs.get("taps") or {}

        def apply_model(x: Any, t: Any, **given: Any) -> Any:
            options = given.pop("transformer_options", told)
            made = {BACK.get(k, k): v for k, v in given.items() if v is not None}
            taps = net_taps(self.patcher, options) if _changed(options, told) else None
            if taps is not None:
                kept = {name: tuple(t for t in ts if not _is_ours(t)) for name, ts in own.items()}
                made["taps"] = {**kept, **{name: (*kept.get(name, ()), *added) for name, added in taps.items()}}
            elif own:
                made["taps"] = own
            if made.get("taps") or "facts" in inputs:
                made["facts"] = {**inputs.get("facts", {}), **{k: v for k, v in options.items() if k in ("cond_or_uncond", "sigmas")}}
            return inner(x, t.detach().float().cpu(), made)

        def wrapped(x: Any, t: Any, **given: Any) -> Any:
            if self.function is None:
                return apply_model(x, t, **given)
            return self.function(apply_model, {"input": x, "timestep": t, "c": given, "cond_or_uncond": told["cond_or_uncond"]})

        def at(
            x: Any, t: Any, c_concat: Any = None, c_crossattn: Any = None, control: Any = None, transformer_options: Any = None, **kw: Any
        ):
            given = {"c_concat": c_concat, "c_crossattn": c_crossattn, "control": control, **kw}
            return wrapped(x, t, **{k: v for k, v in given.items() if v is not None}, transformer_options=transformer_options or told)

        wrappers = get_all_wrappers(WrappersMP.APPLY_MODEL, self.options, is_model_options=True)
        if not wrappers:
            return wrapped(x, sigma.to(x.device), **c)
        executor = WrapperExecutor.new_class_executor(at, self.patcher.model, wrappers)
        rest = {k: v for k, v in c.items() if k not in ("c_concat", "c_crossattn", "control", "transformer_options")}
        return executor.execute(x, sigma.to(x.device), c.get("c_concat"), c.get("c_crossattn"), c.get("control"), told, **rest)


def _changed(options: Any, told: Any) -> bool:
    return any(options.get(group) != told.get(group) for group in ("patches", "patches_replace"))


def _is_ours(tap: Any) -> bool:
    return isinstance(tap[1] if isinstance(tap, tuple) else tap, FromPack)


class Forward(FromPack):
    """Wrappers around the net's own forward."""

    def __call__(self, inner: Any, x: Any, t: Any, inputs: Any) -> Any:
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, self.options, is_model_options=True)
        told = self.told(inputs.get("facts", {}))

        def forward(
            x: Any,
            timesteps: Any = None,
            context: Any = None,
            y: Any = None,
            control: Any = None,
            transformer_options: Any = None,
            **kw: Any,
        ):
            given = {"context": context, "y": y, "control": control, **kw}
            made = {**{k: v for k, v in inputs.items() if k in ("taps", "facts")}, **{k: v for k, v in given.items() if v is not None}}
            return inner(x, timesteps, made)

        executor = WrapperExecutor.new_class_executor(forward, self.patcher.model.diffusion_model, wrappers)
        rest = {k: v for k, v in inputs.items() if k not in ("taps", "facts", "context", "y", "control")}
        return executor.execute(x, t, inputs.get("context"), inputs.get("y"), inputs.get("control"), told, **rest)


class Sampling(FromPack):
    """Wrappers around a whole sampling, around its sampler, and around each guided prediction."""

    def __call__(self, inner: Any, guider: Any, noise: Any, latent: Any, solver: Any, sigmas: Any, mask: Any, **rest: Any) -> Any:
        from comfy import samplers

        wraps = {kind: get_all_wrappers(kind, self.options, is_model_options=True) for kind in AROUND}
        if not isinstance(guider, samplers.PackGuider) and wraps[WrappersMP.PREDICT_NOISE]:
            guider = samplers.plain_guider(guider, self.patcher)
        foreign = samplers.dress_guider(guider)
        seed = rest.get("seed")

        def sampler_sample(
            model_wrap: Any, sigmas: Any, extra: Any, callback: Any, noise: Any, latent: Any = None, mask: Any = None, *args: Any
        ):
            return inner(guider, noise, latent, solver, sigmas, mask, **rest)

        def outer_sample(
            noise: Any, latent: Any, sampler: Any, sigmas: Any, mask: Any = None, callback: Any = None, *args: Any, **kw: Any
        ) -> Any:
            executor = WrapperExecutor.new_class_executor(sampler_sample, sampler, wraps[WrappersMP.SAMPLER_SAMPLE])
            extra = {"model_options": self.options, "seed": seed}
            return executor.execute(foreign, sigmas, extra, callback, noise, latent, mask, True)

        executor = WrapperExecutor.new_class_executor(outer_sample, foreign, wraps[WrappersMP.OUTER_SAMPLE])
        return executor.execute(noise, latent, samplers.dress_solver(solver), sigmas, mask, None, True, seed)


AROUND = (WrappersMP.OUTER_SAMPLE, WrappersMP.SAMPLER_SAMPLE, WrappersMP.PREDICT_NOISE)


class DenoiseMask(FromPack):
    """f(sigma, mask, {"model": what samplers ask, whose `inner_model` is the model, "sigmas"})."""

    def __call__(self, sigma: Any, mask: Any, extra: Any) -> Any:
        model = SimpleNamespace(
            inner_model=self.patcher.model,
            model_patcher=self.patcher,
            model_options=self.options,
            model_sampling=self.patcher.model.model_sampling,
        )
        return self.function(sigma.to(mask.device), mask, {**extra, "model": model})


class Around(FromPack):
    """Entered around the leased net: object patches are hung into it, injections made, callbacks told. Also remembers the patcher."""

    def __init__(self, patcher: Any) -> None:
        super().__init__(None, patcher)
        self.noise: Any = None
        """The noise model the object patches made of `base_noise`."""
        self.base_noise: Any = None

    def begin(self, model: Any, sigmas: Any) -> None:
        self.patcher.pre_run()

    def end(self) -> None:
        self.patcher.cleanup()

    def __call__(self, net: Any) -> Any:
        stack = ExitStack()
        for name, value in self.patcher.object_patches.items():
            if name.startswith("diffusion_model."):
                stack.callback(_hang, net, name.removeprefix("diffusion_model."), _hang(net, name.removeprefix("diffusion_model."), value))
        if self.patcher.injections:
            self.patcher.model._diffusion_model = net
            self.patcher.inject_model()
            stack.callback(self.patcher.eject_model)
        return stack


def _hang(root: Any, path: str, value: Any) -> Any:
    """Set an attribute by its dotted path; the one that was there."""
    *parents, name = path.split(".")
    for parent in parents:
        root = root[int(parent)] if parent.isdigit() and not hasattr(root, parent) else getattr(root, parent)
    before = getattr(root, name)
    if callable(value) and not isinstance(value, torch.nn.Module) and name == "forward":
        object.__setattr__(root, name, value)
    else:
        setattr(root, name, value)
    return before


def net_taps(patcher: Any, options: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """What `transformer_options` asks of the net."""
    taps: dict[str, tuple[Any, ...]] = {}
    for name, functions in options.get("patches", {}).items():
        taps[name] = tuple(NetPatch(f, patcher) for f in functions)
    for name, places in options.get("patches_replace", {}).items():
        made = tuple((place, NetPatch(f, patcher)) for place, f in places.items())
        taps[f"{name}_replace"] = made
    return taps


def taps_of(patcher: Any) -> dict[str, tuple[Any, ...]]:
    """All taps that a patcher's options mean."""
    options = patcher.model_options
    taps = net_taps(patcher, options.get("transformer_options", {}))
    if (f := options.get("sampler_cfg_function")) is not None:
        taps["cfg"] = (Cfg(f, patcher),)
    for name, key, kind in (("post_cfg", "sampler_post_cfg_function", PostCfg), ("pre_cfg", "sampler_pre_cfg_function", PreCfg)):
        if options.get(key):
            taps[name] = tuple(kind(f, patcher) for f in options[key])
    if options.get("disable_cfg1_optimization"):
        taps["needs_uncond"] = (FromPack(None, patcher),)

    def wraps(kind: str) -> bool:
        return bool(get_all_wrappers(kind, options, is_model_options=True))

    function = options.get("sampler_calc_cond_batch_function")
    if function is not None or wraps(WrappersMP.CALC_COND_BATCH):
        taps["predict"] = (Predict(function, patcher),)
    function = options.get("model_function_wrapper")
    if function is not None or wraps(WrappersMP.APPLY_MODEL):
        taps["apply"] = (Apply(function, patcher),)
    if any(wraps(kind) for kind in AROUND):
        taps["sample"] = (Sampling(None, patcher),)
    if wraps(WrappersMP.DIFFUSION_MODEL):
        taps["forward"] = (Forward(None, patcher),)
    if (f := options.get("denoise_mask_function")) is not None:
        taps["denoise_mask"] = (DenoiseMask(f, patcher),)
    return taps


def current() -> Any:
    """The sampling under way. Raises RuntimeError outside of one."""
    found = RUNNING.get()
    if found is None or found.ask is None:
        raise RuntimeError("The net can be asked only while a sampling runs; this was called outside of one.")
    return found
