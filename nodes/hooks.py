"""Hooks: LoRAs and models that change the weights for one conditioning only, by a strength that follows keyframes."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, NamedTuple

from backend.base.errors import BadInput
from backend.diffusion.hooks import Hook, Hooks, Keyframe, difference, together, with_keyframe
from backend.encoders.hooked import HookedClip
from backend.engine.context import Context
from backend.families import kin, load
from backend.graph.declare import Bool, Choice, FileChoice, Float, Int, Wired, node
from backend.graph.schema import Socket
from backend.weights import lora
from backend.weights.open import open_weights
from nodes.loaders import open_named
from nodes.types import Clip, Conditioning, Mask

hook_node = partial(node, module="comfy_extras.nodes_hooks", experimental=True)
HooksWire = Annotated[Any, Socket("HOOKS")]
FramesWire = Annotated[Any, Socket("HOOK_KEYFRAMES")]
Range = Annotated[tuple[float, float], Socket("TIMESTEPS_RANGE")]
FloatsIn = Annotated[Any, Socket("FLOATS")]
BOUNDS = ["default", "mask bounds"]


class Pair(NamedTuple):
    positive: Conditioning
    negative: Conditioning


class Ranges(NamedTuple):
    TIMESTEPS_RANGE: Range
    BEFORE_RANGE: Range
    AFTER_RANGE: Range


def _strength() -> float:
    widget: float = Float(1.0, min=-20.0, max=20.0, step=0.01)
    return widget


def _share(default: float) -> float:
    widget: float = Float(default, min=0.0, max=1.0, step=0.001)
    return widget


def _weight() -> float:
    widget: float = Float(1.0, min=0.0, max=10.0, step=0.01)
    return widget


def _lora(ctx: Context, name: str, strength_model: float, strength_clip: float, previous: Any) -> Any:
    file = open_named(ctx, "lora_name", "loras", name, open_weights)

    def on_model(model: Any, strength: float) -> Any:
        return lora.apply(model, None, file, strength, 0.0, kin=kin)[0]

    def on_clip(clip: Any, strength: float) -> Any:
        return lora.apply(None, clip, file, 0.0, strength, kin=kin)[1]

    return together(previous, Hooks((Hook(on_model, on_clip, strength_model, strength_clip),)))


@hook_node("CreateHookLora", title="Create Hook LoRA", category="advanced/hooks/create")
def create_hook_lora(
    ctx: Context,
    *,
    lora_name: str = FileChoice("loras"),
    strength_model: float = _strength(),
    strength_clip: float = _strength(),
    prev_hooks: HooksWire | None = None,
) -> HooksWire:
    """A LoRA that only the conditionings which carry it feel."""
    return _lora(ctx, lora_name, strength_model, strength_clip, prev_hooks)


@hook_node("CreateHookLoraModelOnly", title="Create Hook LoRA (MO)", category="advanced/hooks/create")
def create_hook_lora_model_only(
    ctx: Context, *, lora_name: str = FileChoice("loras"), strength_model: float = _strength(), prev_hooks: HooksWire | None = None
) -> HooksWire:
    """As Create Hook LoRA, without its part for the text encoder."""
    return _lora(ctx, lora_name, strength_model, 0.0, prev_hooks)


def _model(ctx: Context, name: str, strength_model: float, strength_clip: float, previous: Any) -> Any:
    other = open_named(ctx, "ckpt_name", "checkpoints", name, lambda path: load.load_checkpoint(path, ctx.services))

    def towards(side: Any, what: str) -> Any:
        def apply(handle: Any, strength: float) -> Any:
            if side is None:
                raise BadInput(f"{name} holds no {what}.", hint="Set its strength to 0.", node=ctx.node, input="ckpt_name")
            made = difference(side.loadable.source, handle.loadable.source, name)(strength)
            if not made:
                text = f"The {what} of {name} has no weight of the same name and shape as the one it should change."
                raise BadInput(text, hint="Use a checkpoint of the same kind.", node=ctx.node, input="ckpt_name")
            return handle.patched(*made)

        return apply

    hook = Hook(towards(other.model, "diffusion model"), towards(other.clip, "text encoder"), strength_model, strength_clip)
    return together(previous, Hooks((hook,)))


@hook_node("CreateHookModelAsLora", title="Create Hook Model as LoRA", category="advanced/hooks/create")
def create_hook_model_as_lora(
    ctx: Context,
    *,
    ckpt_name: str = FileChoice("checkpoints"),
    strength_model: float = _strength(),
    strength_clip: float = _strength(),
    prev_hooks: HooksWire | None = None,
) -> HooksWire:
    """The difference to another checkpoint, used like a LoRA."""
    return _model(ctx, ckpt_name, strength_model, strength_clip, prev_hooks)


@hook_node("CreateHookModelAsLoraModelOnly", title="Create Hook Model as LoRA (MO)", category="advanced/hooks/create")
def create_hook_model_as_lora_model_only(
    ctx: Context, *, ckpt_name: str = FileChoice("checkpoints"), strength_model: float = _strength(), prev_hooks: HooksWire | None = None
) -> HooksWire:
    """As Create Hook Model as LoRA, for the diffusion model only."""
    return _model(ctx, ckpt_name, strength_model, 0.0, prev_hooks)


@hook_node("SetHookKeyframes", title="Set Hook Keyframes", category="advanced/hooks/scheduling")
def set_hook_keyframes(ctx: Context, *, hooks: HooksWire, hook_kf: FramesWire | None = None) -> HooksWire:
    """Let the strength of hooks follow keyframes."""
    return hooks.with_keyframes(hook_kf) if hook_kf is not None else hooks


@hook_node("CreateHookKeyframe", title="Create Hook Keyframe", category="advanced/hooks/scheduling", outputs=("HOOK_KF",))
def create_hook_keyframe(
    ctx: Context, *, strength_mult: float = _strength(), start_percent: float = _share(0.0), prev_hook_kf: FramesWire | None = None
) -> FramesWire:
    """From a share of sampling on, hooks have another strength."""
    return with_keyframe(prev_hook_kf or (), Keyframe(strength_mult, start_percent))


def _frames(ctx: Context, strengths: list[float], start: float, end: float, previous: Any, show: bool) -> Any:
    count = len(strengths)
    added = [Keyframe(value, start + (end - start) * (i / (count - 1) if count > 1 else 0)) for i, value in enumerate(strengths)]
    if show:
        for frame in added:
            ctx.log(f"Hook keyframe at {frame.start:.3f}: strength {frame.strength:.3f}.")
    return with_keyframe(previous or (), *added)


EASES = {
    "linear": lambda t: t,
    "ease_in": lambda t: t * t,
    "ease_out": lambda t: 1 - (1 - t) ** 2,
    "ease_in_out": lambda t: 3 * t * t - 2 * t**3,
}


@hook_node(
    "CreateHookKeyframesInterpolated", title="Create Hook Keyframes Interp.", category="advanced/hooks/scheduling", outputs=("HOOK_KF",)
)
def create_hook_keyframes_interpolated(
    ctx: Context,
    *,
    strength_start: float = Float(1.0, min=0.0, max=10.0, step=0.001),
    strength_end: float = Float(1.0, min=0.0, max=10.0, step=0.001),
    interpolation: str = Choice(list(EASES)),
    start_percent: float = _share(0.0),
    end_percent: float = _share(1.0),
    keyframes_count: int = Int(5, min=2, max=100, step=1),
    print_keyframes: bool = Bool(False),
    prev_hook_kf: FramesWire | None = None,
) -> FramesWire:
    """Keyframes along a curve from one strength to another."""
    shares = [EASES[interpolation](i / (keyframes_count - 1)) for i in range(keyframes_count)]
    strengths = [strength_start + (strength_end - strength_start) * t for t in shares]
    return _frames(ctx, strengths, start_percent, end_percent, prev_hook_kf, print_keyframes)


@hook_node(
    "CreateHookKeyframesFromFloats", title="Create Hook Keyframes From Floats", category="advanced/hooks/scheduling", outputs=("HOOK_KF",)
)
def create_hook_keyframes_from_floats(
    ctx: Context,
    *,
    floats_strength: FloatsIn = Wired(default=-1, min=-1, step=0.001, forceInput=True),
    start_percent: float = _share(0.0),
    end_percent: float = _share(1.0),
    print_keyframes: bool = Bool(False),
    prev_hook_kf: FramesWire | None = None,
) -> FramesWire:
    """A keyframe for each number of a list, evenly spread."""
    try:
        strengths = [float(value) for value in (floats_strength if hasattr(floats_strength, "__iter__") else [floats_strength])]
    except (TypeError, ValueError):
        strengths = []
    if not strengths:
        text = f"`floats_strength` is {floats_strength!r:.60}, not a list of numbers."
        raise BadInput(text, hint="Connect a node that gives numbers.", node=ctx.node, input="floats_strength")
    return _frames(ctx, strengths, start_percent, end_percent, prev_hook_kf, print_keyframes)


def _combined(*groups: Any) -> Any:
    return together(*groups) or Hooks()


@hook_node("CombineHooks2", title="Combine Hooks [2]", category="advanced/hooks/combine")
def combine_hooks_2(ctx: Context, *, hooks_A: HooksWire | None = None, hooks_B: HooksWire | None = None) -> HooksWire:
    """Hooks of both."""
    return _combined(hooks_A, hooks_B)


@hook_node("CombineHooks4", title="Combine Hooks [4]", category="advanced/hooks/combine")
def combine_hooks_4(
    ctx: Context,
    *,
    hooks_A: HooksWire | None = None,
    hooks_B: HooksWire | None = None,
    hooks_C: HooksWire | None = None,
    hooks_D: HooksWire | None = None,
) -> HooksWire:
    """Hooks of all."""
    return _combined(hooks_A, hooks_B, hooks_C, hooks_D)


@hook_node("CombineHooks8", title="Combine Hooks [8]", category="advanced/hooks/combine")
def combine_hooks_8(
    ctx: Context,
    *,
    hooks_A: HooksWire | None = None,
    hooks_B: HooksWire | None = None,
    hooks_C: HooksWire | None = None,
    hooks_D: HooksWire | None = None,
    hooks_E: HooksWire | None = None,
    hooks_F: HooksWire | None = None,
    hooks_G: HooksWire | None = None,
    hooks_H: HooksWire | None = None,
) -> HooksWire:
    """Hooks of all."""
    return _combined(hooks_A, hooks_B, hooks_C, hooks_D, hooks_E, hooks_F, hooks_G, hooks_H)


def with_properties(
    conditioning: list[Any], strength: float, area: str, mask: Any = None, hooks: Any = None, timesteps: Any = None
) -> list[Any]:
    """Entries with a mask (and its strength), a range of sampling, and hooks besides those they have."""
    found = []
    for tokens, extra in conditioning:
        values = dict(extra)
        if mask is not None:
            mask = mask.unsqueeze(0) if mask.ndim < 3 else mask
            values |= {"mask": mask, "set_area_to_bounds": area != "default", "mask_strength": strength}
        if timesteps is not None:
            values |= {"start_percent": timesteps[0], "end_percent": timesteps[1]}
        if hooks is not None:
            values["hooks"] = together(values.get("hooks"), hooks)
        found.append([tokens, values])
    return found


@hook_node("ConditioningSetProperties", title="Cond Set Props", category="advanced/hooks/cond single")
def conditioning_set_properties(
    ctx: Context,
    *,
    cond_NEW: Conditioning,
    strength: float = _weight(),
    set_cond_area: str = Choice(BOUNDS),
    mask: Mask | None = None,
    hooks: HooksWire | None = None,
    timesteps: Range | None = None,
) -> Conditioning:
    """Where, when and with which hooks a conditioning applies."""
    return with_properties(cond_NEW, strength, set_cond_area, mask, hooks, timesteps)


@hook_node("ConditioningSetPropertiesAndCombine", title="Cond Set Props Combine", category="advanced/hooks/cond single")
def conditioning_set_properties_and_combine(
    ctx: Context,
    *,
    cond: Conditioning,
    cond_NEW: Conditioning,
    strength: float = _weight(),
    set_cond_area: str = Choice(BOUNDS),
    mask: Mask | None = None,
    hooks: HooksWire | None = None,
    timesteps: Range | None = None,
) -> Conditioning:
    """Where, when and with which hooks a conditioning applies; combined with another one."""
    return [*cond, *with_properties(cond_NEW, strength, set_cond_area, mask, hooks, timesteps)]


@hook_node("PairConditioningSetProperties", title="Cond Pair Set Props", category="advanced/hooks/cond pair")
def pair_conditioning_set_properties(
    ctx: Context,
    *,
    positive_NEW: Conditioning,
    negative_NEW: Conditioning,
    strength: float = _weight(),
    set_cond_area: str = Choice(BOUNDS),
    mask: Mask | None = None,
    hooks: HooksWire | None = None,
    timesteps: Range | None = None,
) -> Pair:
    """Where, when and with which hooks a positive and a negative conditioning apply."""
    return Pair(*(with_properties(c, strength, set_cond_area, mask, hooks, timesteps) for c in (positive_NEW, negative_NEW)))


@hook_node("PairConditioningSetPropertiesAndCombine", title="Cond Pair Set Props Combine", category="advanced/hooks/cond pair")
def pair_conditioning_set_properties_and_combine(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    positive_NEW: Conditioning,
    negative_NEW: Conditioning,
    strength: float = _weight(),
    set_cond_area: str = Choice(BOUNDS),
    mask: Mask | None = None,
    hooks: HooksWire | None = None,
    timesteps: Range | None = None,
) -> Pair:
    """Where, when and with which hooks a pair of conditionings applies; combined with another pair."""
    new = [with_properties(c, strength, set_cond_area, mask, hooks, timesteps) for c in (positive_NEW, negative_NEW)]
    return Pair([*positive, *new[0]], [*negative, *new[1]])


def _default(conditioning: list[Any], hooks: Any) -> list[Any]:
    made = with_properties(conditioning, 1.0, "default", hooks=hooks)
    return [[tokens, {**extra, "default": True}] for tokens, extra in made]


@hook_node("ConditioningSetDefaultCombine", title="Cond Set Default Combine", category="advanced/hooks/cond single")
def conditioning_set_default_combine(
    ctx: Context, *, cond: Conditioning, cond_DEFAULT: Conditioning, hooks: HooksWire | None = None
) -> Conditioning:
    """A conditioning for what the masks of another leave uncovered."""
    return [*cond, *_default(cond_DEFAULT, hooks)]


@hook_node("PairConditioningSetDefaultCombine", title="Cond Pair Set Default Combine", category="advanced/hooks/cond pair")
def pair_conditioning_set_default_combine(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    positive_DEFAULT: Conditioning,
    negative_DEFAULT: Conditioning,
    hooks: HooksWire | None = None,
) -> Pair:
    """A pair of conditionings for what the masks of another leave uncovered."""
    return Pair([*positive, *_default(positive_DEFAULT, hooks)], [*negative, *_default(negative_DEFAULT, hooks)])


@hook_node("PairConditioningCombine", title="Cond Pair Combine", category="advanced/hooks/cond pair")
def pair_conditioning_combine(
    ctx: Context, *, positive_A: Conditioning, negative_A: Conditioning, positive_B: Conditioning, negative_B: Conditioning
) -> Pair:
    """Two pairs of conditionings as one."""
    return Pair([*positive_A, *positive_B], [*negative_A, *negative_B])


@hook_node("SetClipHooks", title="Set CLIP Hooks", category="advanced/hooks/clip")
def set_clip_hooks(
    ctx: Context, *, clip: Clip, apply_to_conds: bool = Bool(True), schedule_clip: bool = Bool(False), hooks: HooksWire | None = None
) -> Clip:
    """Encode with hooks on the text encoder; what is encoded carries them to the model."""
    if hooks is None or not len(hooks):
        return clip
    return HookedClip(clip, hooks, apply_to_conds, schedule_clip)


@hook_node("ConditioningTimestepsRange", title="Timesteps Range", category="advanced/hooks")
def conditioning_timesteps_range(ctx: Context, *, start_percent: float = _share(0.0), end_percent: float = _share(1.0)) -> Ranges:
    """A range of sampling, what lies before it and what after."""
    return Ranges((start_percent, end_percent), (0.0, start_percent), (end_percent, 1.0))
