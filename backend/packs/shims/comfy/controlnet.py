"""`comfy.controlnet`: control nets of this application as packs handle them, and a base for their own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch

from backend.control.residuals import merged
from backend.diffusion.batching import repeated
from backend.packs.facade import Dressed
from backend.packs.facade import dress as dress_value
from backend.packs.host import HOST
from comfy._taps import BACK, NAMES


def broadcast_image_to(tensor: Any, target_batch_size: int, batched_number: int) -> Any:
    """Pictures for every latent of every member of a batch."""
    if tensor.shape[0] == 1:
        return tensor
    return torch.cat([repeated(tensor, target_batch_size // batched_number)] * batched_number)


class _Running:
    """A control of a pack for the length of one sampling, as the engine calls controls."""

    def __init__(self, control: Any) -> None:
        self.control = control

    def get_control(self, x: Any, sigmas: Any, inputs: Any, members: int, told: Any) -> Any:
        cond = {NAMES.get(k, k): v for k, v in inputs.items() if k not in ("taps", "facts")}
        return self.control.get_control(x, sigmas.to(x.device), cond, members, dict(told))


class ControlBase:
    """A control net of a pack: override `get_control(x, t, cond, batched, transformer_options)` -> residuals by place."""

    def __init__(self) -> None:
        self.cond_hint_original: Any = None
        self.cond_hint: Any = None
        self.strength = 1.0
        self.timestep_percent_range = (0.0, 1.0)
        self.timestep_range: Any = None
        self.latent_format: Any = None
        self.vae: Any = None
        self.global_average_pooling = False
        self.compression_ratio = 8
        self.upscale_algorithm = "nearest-exact"
        self.extra_args: dict[str, Any] = {}
        self.previous_controlnet: Any = None
        self.extra_conds: list[Any] = []
        self.extra_concat_orig: list[Any] = []
        self.concat_mask = False
        self.extra_hooks: Any = None
        self.device = None

    def set_cond_hint(
        self, cond_hint: Any, strength: float = 1.0, timestep_percent_range: Any = (0.0, 1.0), vae: Any = None, extra_concat: Any = ()
    ) -> Any:
        self.cond_hint_original, self.strength, self.timestep_percent_range = cond_hint, strength, timestep_percent_range
        self.vae, self.extra_concat_orig = vae, list(extra_concat)
        return self

    def pre_run(self, model: Any, percent_to_timestep_function: Any) -> None:
        self.timestep_range = tuple(percent_to_timestep_function(p) for p in self.timestep_percent_range)
        if self.previous_controlnet is not None and hasattr(self.previous_controlnet, "pre_run"):
            self.previous_controlnet.pre_run(model, percent_to_timestep_function)

    def set_previous_controlnet(self, controlnet: Any) -> Any:
        self.previous_controlnet = dress_value(controlnet)
        return self

    @contextmanager
    def bind(self, model: Any, pool: Any) -> Iterator[Any]:
        """What the engine calls for the length of one sampling of a model handle."""
        from comfy.model_patcher import dress as dress_model

        try:
            self.pre_run(dress_model(model).model, model.noise.percent_to_sigma)
            yield _Running(self)
        finally:
            self.cleanup()

    def cleanup(self) -> None:
        if self.previous_controlnet is not None and hasattr(self.previous_controlnet, "cleanup"):
            self.previous_controlnet.cleanup()
        self.cond_hint = None

    def get_models(self) -> list[Any]:
        return self.previous_controlnet.get_models() if hasattr(self.previous_controlnet, "get_models") else []

    def get_extra_hooks(self) -> list[Any]:
        return []

    def copy_to(self, c: Any) -> None:
        c.__dict__.update({k: v for k, v in self.__dict__.items() if k not in ("cond_hint", "timestep_range")})

    def copy(self) -> Any:
        return copy.copy(self)

    def inference_memory_requirements(self, dtype: Any) -> int:
        return 0

    def set_extra_arg(self, argument: str, value: Any = None) -> None:
        self.extra_args[argument] = value

    def control_merge(self, control: Any, control_prev: Any, output_dtype: Any) -> dict[str, list[Any]]:
        """Residuals times the strength, added to those of the control before."""
        out: dict[str, list[Any]] = {}
        for place, values in control.items():
            scaled = [None if v is None else v.to(output_dtype) * self.strength for v in values]
            before = list((control_prev or {}).get(place, []))
            length = max(len(scaled), len(before))
            scaled, before = [None] * (length - len(scaled)) + scaled, [None] * (length - len(before)) + before
            out[place] = [b if a is None else a if b is None else a + b for a, b in zip(scaled, before)]
        return out

    def get_control(self, x_noisy: Any, t: Any, cond: Any, batched_number: int, transformer_options: Any = None) -> Any:
        raise NotImplementedError


class ControlNet(ControlBase, Dressed):
    """A control net of ours."""

    def __init__(self, control: Any = None, **kwargs: Any) -> None:
        super().__init__()
        self.ours = control
        self._leased: Any = None
        self._running: Any = None
        if control is not None:
            self.strength = control.strength
            self.cond_hint_original = control.hint
            self.timestep_percent_range = (control.start_percent, control.end_percent)
            self.previous_controlnet = dress_value(control.previous)

    def undressed(self) -> Any:
        previous = self.previous_controlnet
        previous = previous.undressed() if isinstance(previous, Dressed) else previous
        start, end = self.timestep_percent_range
        return replace(
            self.ours, hint=self.cond_hint_original, strength=self.strength, start_percent=start, end_percent=end, previous=previous
        )

    def bind(self, model: Any, pool: Any) -> Any:
        """As our own do: this object may lie in conditioning as it is. A pack's subclass that makes the residuals is asked itself."""
        return self.undressed().bind(model, pool) if type(self).get_control is ControlNet.get_control else super().bind(model, pool)

    def pre_run(self, model: Any, percent_to_timestep_function: Any) -> None:
        """A pack's control runs this one: it is leased until `cleanup`."""
        super().pre_run(model, percent_to_timestep_function)
        self._let_go()  # it may be the one before several, each of which prepares it
        self._leased = ExitStack()
        self._running = self._leased.enter_context(replace(self.undressed(), previous=None).bind(model.handle, HOST.services.pool))

    def cleanup(self) -> None:
        super().cleanup()
        self._let_go()

    def _let_go(self) -> None:
        if self._leased is not None:
            self._leased.close()
        self._leased = self._running = None

    def copy(self) -> Any:
        made = copy.copy(self)
        made._leased = made._running = None
        return made

    def get_control(self, x_noisy: Any, t: Any, cond: Any, batched_number: int, transformer_options: Any = None) -> Any:
        """The residuals, those of the control before added. Raises RuntimeError where no sampling has prepared it by `pre_run`."""
        if self._running is None:
            raise RuntimeError("A control net is asked only while a sampling runs: call its pre_run first.")
        before = None
        if self.previous_controlnet is not None:
            before = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        inputs = {BACK.get(k, k): v for k, v in cond.items() if k != "transformer_options"}
        told = {"cond_or_uncond": [0] * batched_number, **(transformer_options or {})}
        return merged(before, self._running.get_control(x_noisy, t.detach().float().cpu(), inputs, batched_number, told))


ControlLora = T2IAdapter = ControlNet


def dress(control: Any) -> ControlNet:
    return ControlNet(control)


def load_controlnet(ckpt_path: Any, model: Any = None, model_options: Any = None) -> ControlNet:
    from backend.control.load import load_control

    return ControlNet(load_control(ckpt_path, HOST.services, None if model is None else model.undressed()))


def load_t2i_adapter(t2i_data: Any, model_options: Any = None) -> Any:
    raise NotImplementedError("Load T2I adapters from their file: comfy.controlnet.load_controlnet(path).")
