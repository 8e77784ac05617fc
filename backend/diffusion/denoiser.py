"""Bind a net, its noise model and resolved conditioning into predictions: (x, sigma, roles) -> one x0 a role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import OutOfMemory
from backend.diffusion.batching import Work, batch_inputs, group, merge, with_defaults
from backend.diffusion.companions import Companions
from backend.diffusion.conditioning import Entry
from backend.diffusion.handle import ModelHandle
from backend.diffusion.hooks import HookedNets
from backend.diffusion.noise import NoiseModel
from backend.diffusion.window import Window

Apply = Callable[[Tensor, Tensor, dict[str, Any]], Tensor]
"""(x, sigma [B], keyword inputs) -> x0."""
Forward = Callable[[Tensor, Tensor, dict[str, Any]], Tensor]
"""(x as the net sees it, timesteps [B], keyword inputs with "facts") -> what the net says. "forward" taps f(inner, x, t, inputs)."""
Taps = Mapping[str, Sequence[Any]]


class Denoiser:
    """Predicts for the length of one lease. `roles` names the conditioning each guider asks for ("positive", "negative", ...).

    Scalars of the noise model are computed on the host, so that a step never waits for the device. Entries that fit together run in
    one batch, of at most `most` entries where that is given; when the device runs out of memory the batch is halved, for the rest of this
    sampling too, and `lowered` told.
    """

    def __init__(
        self, model: ModelHandle, net: nn.Module, roles: Mapping[str, list[Entry]], sigmas: Tensor | None = None,
        companions: Companions | None = None, hooked: HookedNets | None = None, lowered: Callable[[str], None] | None = None,
        most: int | None = None,
    ) -> None:  # fmt: skip
        self.model, self.net, self.roles = model, net, roles
        self._companions = companions or Companions(model.net_taps())
        self._facts: dict[str, Any] = {"sample_sigmas": sigmas}
        self._most = most
        self._added: Taps = {}
        self._hooked = hooked
        self._running = net
        self._lowered = lowered

    def predict(
        self, x: Tensor, sigma: Tensor, roles: Sequence[str], *, taps: Taps | None = None, window: Window | None = None
    ) -> list[Tensor]:
        """x0 for each of `roles`, [B, C, ...] fp32; sigma is [B], best on the CPU.

        `taps` are added to the net's for this prediction. With `window`, x is that part of the latents, and the conditioning is cut to it.
        """
        if taps:
            before, self._added = self._added, joined(self._added, taps)
            try:
                return self.predict(x, sigma, roles, window=window)
            finally:
                self._added = before
        active = [[e for e in self.roles.get(role, ()) if e.active(float(sigma[0]))] for role in roles]
        if window is not None:
            along = getattr(self.model.family, "along", None)
            active = [[seen for e in entries if (seen := window.entry(e, along)) is not None] for entries in active]
        work = with_defaults(active, x.shape, x.device)
        predictions: dict[int, Tensor] = {}
        for members in group(work, getattr(self.model.family, "repeats_text", True)):
            for item, prediction in zip(members, self._run(members, x, sigma), strict=True):
                predictions[id(item)] = prediction
        return merge(len(roles), work, [predictions[id(item)] for item in work], x)

    def _run(self, members: Sequence[Work], x: Tensor, sigma: Tensor) -> list[Tensor]:
        """Predictions of members that fit together, in batches that fit the device."""
        out: list[Tensor] = []
        while len(out) < len(members):
            most = self._most or len(members)
            part = members[len(out) : len(out) + most]
            try:
                out += self._batch(part, x, sigma)
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise OutOfMemory(
                        f"The device has too little memory to denoise a batch of {x.shape[0]} latents of size {tuple(x.shape[2:])}.",
                        hint="Make the batch or the image smaller.",
                    ) from error
                self._most = len(part) // 2
                if self._lowered is not None:
                    self._lowered(f"in batches of {self._most * x.shape[0]}")
        return out

    def _batch(self, members: Sequence[Work], x: Tensor, sigma: Tensor) -> list[Tensor]:
        hooks = members[0].entry.cond.get("hooks")
        self._running = (self._hooked and self._hooked.get(hooks, float(sigma[0]))) or self.net
        many = torch.cat([item.entry.crop(x) for item in members]) if len(members) > 1 else members[0].entry.crop(x)
        sigmas = sigma.repeat(len(members))
        inputs: dict[str, Any] = dict(batch_inputs(members, x))
        roles = [item.role for item in members]
        control = self._companions.control(members[0].entry)
        facts = {**self._facts, "cond_or_uncond": roles, "sigmas": sigmas, "uuids": [item.entry.uid for item in members]}
        if control is not None:
            inputs["control"] = control.get_control(many, sigmas, inputs, len(members), facts)
        taps = joined(self._companions.taps_for(members[0].entry, float(sigma[0])), self._added)
        if taps or self.model.taps.get("forward"):
            inputs["taps"], inputs["facts"] = taps, facts
        run: Apply = self.apply
        for tap in self.model.taps.get("apply", ()):
            run = _wrapped(tap, run, roles)
        return list(run(many, sigmas, inputs).chunk(len(members)))

    def apply(self, x: Tensor, sigma: Tensor, inputs: dict[str, Any]) -> Tensor:
        """One run of the net as x0, fp32. x [N, C, ...], sigma [N]."""
        noise = self.model.noise
        shown, t, s = as_net_sees(noise, x, sigma, self.model.loadable.dtype)
        run: Forward = self._forward
        for tap in self.model.taps.get("forward", ()):
            run = partial(tap, run)
        return noise.prediction.denoised(x, run(shown, t, inputs).float(), s)

    def _forward(self, shown: Tensor, t: Tensor, inputs: dict[str, Any]) -> Tensor:
        return self.model.family.forward(self._running, shown, t, inputs)


def joined(taps: Taps, more: Taps) -> Taps:
    """Taps of both, `more` called after."""
    return {**taps, **{name: (*taps.get(name, ()), *added) for name, added in more.items()}} if more else taps


def as_net_sees(noise: NoiseModel, x: Tensor, sigma: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """x scaled for a net and in its dtype, its timesteps [N], and the sigmas. Those stay on the host where all are equal."""
    host = sigma.float().cpu()
    even = bool((host == host[0]).all())
    s = host[0] if even else host.to(x.device)
    t = noise.timestep(host).float()
    t = x.new_full((x.shape[0],), float(t[0]), dtype=torch.float32) if even else t.to(x.device)
    return noise.prediction.net_input(x, s).to(dtype), t, s


def _wrapped(tap: Any, inner: Apply, roles: list[int]) -> Apply:
    return lambda x, sigma, inputs: tap(inner, x, sigma, inputs, roles)


def cast(inputs: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """A family's tensors where and in what the net computes; whole numbers and truth values keep their type."""
    return {
        key: value.to(device, dtype if value.is_floating_point() else value.dtype) if isinstance(value, Tensor) else value
        for key, value in inputs.items()
    }
