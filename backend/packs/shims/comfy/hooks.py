"""`comfy.hooks`: groups of changes that conditioning carries."""

from __future__ import annotations

import enum
from typing import Any


class EnumHookMode(enum.Enum):
    MinVram = "minvram"
    MaxSpeed = "maxspeed"


class EnumHookType(enum.Enum):
    Weight = "weight"
    ObjectPatch = "object_patch"
    AdditionalModels = "add_models"
    TransformerOptions = "transformer_options"
    Injections = "add_injections"


class Hook:
    def __init__(self, hook_type: Any = None, hook_ref: Any = None, hook_id: Any = None, hook_keyframe: Any = None, **kwargs: Any) -> None:
        self.hook_type, self.hook_ref, self.hook_id, self.hook_keyframe = hook_type, hook_ref, hook_id, hook_keyframe


class HookKeyframe:
    def __init__(self, strength: float, start_percent: float = 0.0, guarantee_steps: int = 1) -> None:
        self.strength, self.start_percent, self.guarantee_steps = strength, start_percent, guarantee_steps


class HookKeyframeGroup:
    def __init__(self) -> None:
        self.keyframes: list[HookKeyframe] = []

    def add(self, keyframe: HookKeyframe) -> None:
        self.keyframes = sorted([*self.keyframes, keyframe], key=lambda k: k.start_percent)

    def clone(self) -> HookKeyframeGroup:
        made = HookKeyframeGroup()
        made.keyframes = list(self.keyframes)
        return made

    def is_empty(self) -> bool:
        return not self.keyframes

    def has_index(self, index: int) -> bool:
        return 0 <= index < len(self.keyframes)


class HookGroup:
    def __init__(self) -> None:
        self.hooks: list[Any] = []

    def __len__(self) -> int:
        return len(self.hooks)

    def add(self, hook: Any) -> None:
        if hook not in self.hooks:
            self.hooks.append(hook)

    def clone(self) -> HookGroup:
        made = HookGroup()
        made.hooks = list(self.hooks)
        return made

    def clone_and_combine(self, other: HookGroup | None) -> HookGroup:
        made = self.clone()
        for hook in other.hooks if other is not None else ():
            made.add(hook)
        return made

    def set_keyframes_on_hooks(self, hook_kf: HookKeyframeGroup | None) -> None:
        for hook in self.hooks:
            hook.hook_keyframe = hook_kf

    @staticmethod
    def combine_all_hooks(hooks_list: Any, require_count: int = 0) -> HookGroup | None:
        given = [h for h in hooks_list if h is not None]
        if not given or len(given) < require_count:
            return None
        made = HookGroup()
        for group in given:
            made = made.clone_and_combine(group)
        return made


def set_hooks_for_conditioning(cond: Any, hooks: Any, append_hooks: bool = True, cache: Any = None) -> list[Any]:
    """Copies of the entries with the hooks, joined to those they have."""
    if hooks is None:
        return cond
    out = []
    for tensor, options in cond:
        before = options.get("hooks") if append_hooks else None
        out.append([tensor, {**options, "hooks": hooks if before is None else before.clone_and_combine(hooks)}])
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
