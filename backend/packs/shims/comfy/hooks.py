"""`comfy.hooks`: groups of changes that conditioning carries."""

from __future__ import annotations

import enum
from typing import Any

from backend.diffusion.hooks import Hook, Hooks, Keyframe, together
from backend.packs.facade import Dressed


class EnumHookMode(enum.Enum):
    MinVram = "minvram"
    MaxSpeed = "maxspeed"


class EnumHookType(enum.Enum):
    Weight = "weight"
    ObjectPatch = "object_patch"
    AdditionalModels = "add_models"
    TransformerOptions = "transformer_options"
    Injections = "add_injections"


class HookKeyframe(Keyframe):
    """From the share `start_percent` of sampling on, hooks are multiplied by `strength`."""

    def __init__(self, strength: float, start_percent: float = 0.0, guarantee_steps: int = 1) -> None:
        super().__init__(strength, start_percent)
        object.__setattr__(self, "guarantee_steps", guarantee_steps)

    @property
    def start_percent(self) -> float:
        return self.start


class HookKeyframeGroup(Dressed):
    def __init__(self) -> None:
        self.keyframes: list[HookKeyframe] = []

    def add(self, keyframe: HookKeyframe) -> None:
        self.keyframes = sorted([*self.keyframes, keyframe], key=lambda k: k.start)

    def clone(self) -> HookKeyframeGroup:
        made = HookKeyframeGroup()
        made.keyframes = list(self.keyframes)
        return made

    def is_empty(self) -> bool:
        return not self.keyframes

    def has_index(self, index: int) -> bool:
        return 0 <= index < len(self.keyframes)

    def undressed(self) -> tuple[Keyframe, ...]:
        return tuple(self.keyframes)


class HookGroup(Hooks):
    """One of our groups that can be added to."""

    def __init__(self, hooks: Any = ()) -> None:
        super().__init__(tuple(hooks))

    def add(self, hook: Any) -> None:
        if hook not in self.hooks:
            object.__setattr__(self, "hooks", (*self.hooks, hook))

    def clone(self) -> HookGroup:
        return HookGroup(self.hooks)

    def clone_and_combine(self, other: Hooks | None) -> HookGroup:
        made = self.clone()
        for hook in other.hooks if other is not None else ():
            made.add(hook)
        return made

    def set_keyframes_on_hooks(self, hook_kf: HookKeyframeGroup | None) -> None:
        frames = () if hook_kf is None else tuple(hook_kf.keyframes)
        object.__setattr__(self, "hooks", self.with_keyframes(frames).hooks)

    @staticmethod
    def combine_all_hooks(hooks_list: Any, require_count: int = 0) -> HookGroup | None:
        given = [h for h in hooks_list if h is not None]
        if not given or len(given) < require_count:
            return None
        made = HookGroup()
        for group in given:
            made = made.clone_and_combine(group)
        return made


def dress(hooks: Hooks) -> HookGroup:
    return hooks if isinstance(hooks, HookGroup) else HookGroup(hooks.hooks)


def load_hook_lora_for_models(model: Any, clip: Any, lora: Any, strength_model: float, strength_clip: float) -> tuple[Any, Any, HookGroup]:
    """The models as they were, and a hook with the adapters of a state dict."""
    from backend.weights import lora as adapters
    from comfy.lora import StateDict

    file = StateDict(lora)

    def on_model(handle: Any, strength: float) -> Any:
        return adapters.apply(handle, None, file, strength, 0.0)[0]

    def on_clip(handle: Any, strength: float) -> Any:
        return adapters.apply(None, handle, file, 0.0, strength)[1]

    return model, clip, HookGroup((Hook(on_model, on_clip, strength_model, strength_clip),))


def set_hooks_for_conditioning(cond: Any, hooks: Any, append_hooks: bool = True, cache: Any = None) -> list[Any]:
    """Copies of the entries with the hooks, joined to those they have."""
    if hooks is None:
        return cond
    out = []
    for tensor, options in cond:
        before = options.get("hooks") if append_hooks else None
        out.append([tensor, {**options, "hooks": together(before, hooks)}])
    return out


def _with(cond: Any, key: str, value: Any) -> list[Any]:
    return [[tensor, {**options, key: value}] for tensor, options in cond]


def set_mask_for_conditioning(cond: Any, mask: Any, set_cond_area: str, strength: float) -> list[Any]:
    cond = _with(cond, "mask", mask if mask.ndim == 3 else mask[None])
    return _with(_with(cond, "set_area_to_bounds", set_cond_area != "default"), "mask_strength", strength)


def set_timesteps_for_conditioning(cond: Any, timestep_range: Any) -> list[Any]:
    if timestep_range is None:
        return cond
    return _with(_with(cond, "start_percent", timestep_range[0]), "end_percent", timestep_range[1])


def set_conds_props(
    conds: Any,
    strength: float,
    set_cond_area: str,
    mask: Any = None,
    hooks: Any = None,
    timesteps_range: Any = None,
    append_hooks: bool = True,
) -> list[Any]:
    out = []
    for cond in conds:
        made = set_hooks_for_conditioning(cond, hooks, append_hooks)
        if mask is not None:
            made = set_mask_for_conditioning(made, mask, set_cond_area, strength)
        out.append(set_timesteps_for_conditioning(made, timesteps_range))
    return out


def combine_conditioning(conds: Any) -> list[Any]:
    return [entry for cond in conds for entry in cond]


def set_conds_props_and_combine(
    conds: Any, new_conds: Any, strength: float = 1.0, set_cond_area: str = "default", mask: Any = None, hooks: Any = None, timesteps_range: Any = None,
    append_hooks: bool = True,
) -> list[Any]:  # fmt: skip
    changed = set_conds_props(new_conds, strength, set_cond_area, mask, hooks, timesteps_range, append_hooks)
    return [combine_conditioning(pair) for pair in zip(conds, changed)]


def set_default_conds_and_combine(
    conds: Any, new_conds: Any, hooks: Any = None, timesteps_range: Any = None, append_hooks: bool = True
) -> list[Any]:
    changed = []
    for cond in new_conds:
        made = set_hooks_for_conditioning(cond, hooks, append_hooks)
        changed.append(set_timesteps_for_conditioning(_with(made, "default", True), timesteps_range))
    return [combine_conditioning(pair) for pair in zip(conds, changed)]
