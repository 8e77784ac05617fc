"""The one sampling loop: lease the net, bind it, guide it, solve. Every node that samples comes through here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.batching import batches, fewer
from backend.diffusion.companions import together
from backend.diffusion.conditioning import Conditioning, Entry, mirror_areas, resolve, spread
from backend.diffusion.denoiser import Denoiser, cast
from backend.diffusion.guiders import Ask, Guider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.hooks import HookedNets
from backend.diffusion.inpaint import Masked, fit_noise_mask
from backend.diffusion.randomness import NoiseSource, SeededNoise
from backend.diffusion.samplers import Solver
from backend.diffusion.samplers.solver import OnStep, quiet
from backend.memory.pool import Pool

_SEEDS = 1 << 64


def prepare_noise(latent: Tensor, seed: int, batch_index: Sequence[int] | None = None) -> Tensor:
    """Unit noise like `latent` [B, ...] on the CPU, bit for bit what `torch.manual_seed(seed)` and one `randn` give.

    With `batch_index`, row i is the noise that image number batch_index[i] of a whole batch would have got. Seeds the global
    generator, because callback samplers written for the ecosystem draw from it.
    """
    generator = torch.manual_seed(seed % _SEEDS)

    def draw(shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape), dtype=latent.dtype, layout=latent.layout, generator=generator, device="cpu")

    if batch_index is None:
        return draw(latent.shape)
    rows = [draw((1, *latent.shape[1:])) for _ in range(max(batch_index) + 1)]
    return torch.cat([rows[i] for i in batch_index])


class Bound:
    """A guider and what answers it as what a solver calls."""

    def __init__(self, guider: Guider, ask: Ask) -> None:
        self.guider, self.ask = guider, ask

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.guider.predict(self.ask, x, sigma).denoised

    def pair(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        guess = self.guider.predict(self.ask, x, sigma, both=True)
        return guess.denoised, guess.uncond


def shared_out(first: Ask, others: Mapping[str, Ask]) -> Ask:
    """Roles that another model answers go to it, and the rest, in one question, to `first`."""
    if not others:
        return first

    def ask(x: Tensor, sigma: Tensor, roles: Sequence[str], **options: Any) -> list[Tensor]:
        own = [role for role in roles if role not in others]
        found = dict(zip(own, first(x, sigma, own, **options) if own else (), strict=True))
        return [found[role] if role in found else others[role](x, sigma, [role], **options)[0] for role in roles]

    return ask


def prepare_conds(
    model: ModelHandle, conds: Mapping[str, Conditioning], shape: Sequence[int], device: torch.device, told: Mapping[str, Any] | None = None
) -> dict[str, list[Entry]]:
    """Resolved entries by role for latents of `shape`, with the family's inputs on `device`.

    The family sees each entry with `told` below it, and its role as "prompt_type".
    """
    roles: dict[str, list[Entry]] = {}
    for role, conditioning in conds.items():
        entries = resolve(conditioning, shape, model.noise.percent_to_sigma, device)
        roles[role] = [
            replace(e, inputs=cast(model.family.inputs([seen], model.sizes, shape), device, model.loadable.dtype))
            for e in entries
            for seen in [{**(told or {}), **e.cond, "prompt_type": role}]
        ]
    roles = mirror_areas(roles)
    roles = spread(roles, "control", lambda e: bool(e.cond.get("control_apply_to_uncond")))
    return spread(roles, "gligen")


def sample(
    guider: Guider, noise: Tensor, latent: Tensor, solver: Solver, sigmas: Tensor, mask: Tensor | None = None,
    *, pool: Pool, on_step: OnStep = quiet, seed: int = 0, source: NoiseSource | None = None,
) -> Tensor:  # fmt: skip
    """Take `latent` [B, C, ...] through `sigmas` and return the latent at the last of them, fp32 on the CPU.

    `noise` is unit noise of the same shape (zeros: none is added). `mask` (1 = denoise) may have any size. `seed` feeds the noise of
    stochastic solvers, unless `source` does. `on_step` sees each step in the net's scale and may raise Interrupted. The model's "sample"
    taps f(inner, guider, noise, latent, solver, sigmas, mask, **options) -> latent are called around it.
    """
    run: Callable[..., Tensor] = _sample
    for tap in guider.model.taps.get("sample", ()):
        run = partial(tap, run)
    return run(guider, noise, latent, solver, sigmas, mask, pool=pool, on_step=on_step, seed=seed, source=source)


def _sample(
    guider: Guider, noise: Tensor, latent: Tensor, solver: Solver, sigmas: Tensor, mask: Tensor | None,
    *, pool: Pool, on_step: OnStep, seed: int, source: NoiseSource | None,
) -> Tensor:  # fmt: skip
    model, device = guider.model, pool.device
    if not len(sigmas):
        return latent
    if noise.shape != latent.shape:
        raise BadInput(f"The noise has shape {tuple(noise.shape)} and the latent {tuple(latent.shape)}; they must be equal.", input="noise")
    wanted = model.family.latent
    if latent.ndim != wanted.dims + 2 or latent.shape[1] != wanted.channels:
        raise BadInput(
            f"The latent has the shape {list(latent.shape)}, but this {model.family.name} model works on {wanted.channels} channels"
            f" of {wanted.dims} dimensions.",
            hint="Latents belong to one kind of model: encode the picture with the model's own VAE.",
            input="latent_image",
        )
    if not any(len(c) for c in guider.conds.values()):
        raise BadInput("There is no conditioning to sample with.", hint="Connect an encoded prompt.", input="positive")
    # a repeated sigma (more steps than the model has timesteps) is a step of no length, which multistep solvers cannot divide by
    sigmas = torch.unique_consecutive(sigmas.detach().float().cpu())
    clean = latent.to(device, torch.float32)
    if torch.any(latent):
        clean = model.family.latent.process_in(clean)
    noise = noise.to(device, torch.float32)
    told = {"latent_image": clean, "denoise_mask": None if mask is None else fit_noise_mask(mask, clean.shape)[:, :1], "seed": seed}
    others: Mapping[str, ModelHandle] = getattr(guider, "others", {})
    own = {role: cond for role, cond in guider.conds.items() if role not in others} | dict(model.taps.get("conds", ()))
    asks = {*getattr(guider, "asks", guider.conds), *dict(model.taps.get("conds", ()))}
    with torch.inference_mode(), ExitStack() as stack:

        def bound(model: ModelHandle, conds: Mapping[str, Conditioning]) -> Ask:
            roles = prepare_conds(model, conds, latent.shape, device, told)
            companions = stack.enter_context(together(model, roles, pool))
            most, working = as_many_as_fit(model, {r: roles[r] for r in roles if r in asks}, sigmas, latent.shape, pool)
            net = stack.enter_context(pool.lease(model.leasable(), working))
            hooked = stack.enter_context(HookedNets(model, pool))
            denoiser = Denoiser(model, net, roles, sigmas, companions, hooked, partial(pool.lowered, model.loadable.key), most)
            stack.enter_context(_told(model, net, sigmas))
            return denoiser.predict

        ask = shared_out(bound(model, own), {role: bound(other, {role: guider.conds[role]}) for role, other in others.items()})
        result = _solve(guider, ask, noise, clean, solver, sigmas, mask, on_step, source or SeededNoise(seed), seed)
        result = model.family.latent.process_out(model.noise.unscaled(result, float(sigmas[-1]))).float().cpu()
    return result.clone()  # outside inference mode, so that others may edit it in place


def as_many_as_fit(
    model: ModelHandle, roles: Mapping[str, Sequence[Entry]], sigmas: Tensor, shape: Sequence[int], pool: Pool
) -> tuple[int | None, int]:
    """How many entries may be predicted at once (None: all of them), and the bytes of activations to plan for.

    All together where memory allows: on CPUs that takes 0.8 to 1.0 of the time of one after the other, the least for small pictures.
    """
    found = batches(roles, sigmas.tolist(), shape, getattr(model.family, "repeats_text", True))

    def need(most: int) -> int:
        shapes = ((min(most, entries) * shape[0], shape[1], *sizes) for entries, sizes in found)
        return max((model.family.working_bytes(one, model.sizes) for one in shapes), default=0)

    ways = fewer(max((batch.entries for batch in found), default=1))
    needs = [need(most) for most in ways]
    way = pool.fitting(model.leasable(), needs)
    if way:
        spared = f"all {ways[0]} at once need {(needs[0] - needs[way]) / 1e6:,.0f} MB more, for which there is no room beside the weights"
        pool.lowered(model.loadable.key, f"{ways[way]} of {ways[0]} conditions at a time", spared)
    return ways[way] if way else None, needs[way]


@contextmanager
def _told(model: ModelHandle, net: nn.Module, sigmas: Tensor) -> Iterator[None]:
    """Taps that keep something from step to step are told when a sampling begins and ends; "net" taps f(net) are entered around it."""
    keeping = {id(tap): tap for taps in model.taps.values() for tap in taps if hasattr(tap, "begin")}.values()
    with ExitStack() as stack:
        for tap in keeping:
            stack.callback(tap.end)
            tap.begin(model, sigmas)
        for tap in model.taps.get("net", ()):
            stack.enter_context(tap(net))
        yield


def _solve(
    guider: Guider, ask: Ask, noise: Tensor, clean: Tensor, solver: Solver, sigmas: Tensor, mask: Tensor | None,
    on_step: OnStep, source: NoiseSource, seed: int,
) -> Tensor:  # fmt: skip
    model = guider.model
    bound = Bound(guider, ask)
    denoise: Bound | Masked = bound
    if mask is not None:
        kept = noise
        if solver.fresh_mask_noise:
            kept = prepare_noise(noise.new_empty(noise.shape, device="cpu"), seed + 1).to(noise)
        denoise = Masked(bound, model, fit_noise_mask(mask, clean.shape).to(clean), clean, kept, sigmas)
    x = model.noise.noised(clean, noise, float(sigmas[0]))
    return solver.run(denoise, x, sigmas, noise=source, on_step=on_step, path=model.noise.path, **solver.options)
