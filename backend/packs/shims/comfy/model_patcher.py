"""`ModelPatcher`: a model as packs change it. A clone shares weights; nothing here ever writes to them."""

from __future__ import annotations

import copy
import inspect
import uuid
from dataclasses import replace
from typing import Any

import torch

import comfy.model_management
import comfy.utils
from backend.diffusion.handle import ModelHandle
from backend.packs.facade import Dressed
from backend.packs.host import HOST
from backend.weights.patch import Patch
from comfy._taps import Around, FromPack, taps_of
from comfy.patcher_extension import CallbacksMP, PatcherInjection, WrappersMP, copy_nested_dicts

__all__ = ["CallbacksMP", "ModelPatcher", "PatcherInjection", "WrappersMP"]
PREFIX = "diffusion_model."


class PackPatch(Patch):
    """A weight patch a pack added."""


def set_model_options_patch_replace(
    model_options: Any, patch: Any, name: str, block_name: str, number: int, transformer_index: int | None = None
) -> Any:
    to = model_options["transformer_options"] = model_options.get("transformer_options", {}).copy()
    places = to["patches_replace"] = to.get("patches_replace", {}).copy()
    places[name] = places.get(name, {}).copy()
    place = (block_name, number) if transformer_index is None else (block_name, number, transformer_index)
    places[name][place] = patch
    return model_options


def set_model_options_post_cfg_function(model_options: Any, post_cfg_function: Any, disable_cfg1_optimization: bool = False) -> Any:
    model_options["sampler_post_cfg_function"] = [*model_options.get("sampler_post_cfg_function", []), post_cfg_function]
    if disable_cfg1_optimization:
        model_options["disable_cfg1_optimization"] = True
    return model_options


def set_model_options_pre_cfg_function(model_options: Any, pre_cfg_function: Any, disable_cfg1_optimization: bool = False) -> Any:
    model_options["sampler_pre_cfg_function"] = [*model_options.get("sampler_pre_cfg_function", []), pre_cfg_function]
    if disable_cfg1_optimization:
        model_options["disable_cfg1_optimization"] = True
    return model_options


def create_model_options_clone(orig_model_options: Any) -> Any:
    return copy_nested_dicts(orig_model_options)


def create_hook_patches_clone(orig_hook_patches: Any) -> Any:
    return copy.copy(orig_hook_patches)


def string_to_seed(data: Any) -> int:
    import zlib

    return zlib.crc32(data.encode() if isinstance(data, str) else data)


class AutoPatcherEjector:
    """Takes injections out for the length of a `with`."""

    def __init__(self, model: Any, skip_and_inject_on_exit_only: bool = False) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.was = self.model.is_injected
        self.model.eject_model()

    def __exit__(self, *error: object) -> None:
        if self.was:
            self.model.inject_model()


class ModelPatcher(Dressed):
    """Of one of our models (`dress`), or of any torch module a pack built (`ModelPatcher(module, load_device, offload_device)`)."""

    def __init__(
        self, model: Any, load_device: Any = None, offload_device: Any = None, size: int = 0, weight_inplace_update: bool = False
    ) -> None:
        self.model = model
        self.load_device = comfy.model_management.get_torch_device() if load_device is None else load_device
        self.offload_device = torch.device("cpu") if offload_device is None else offload_device
        self.size = size
        self.weight_inplace_update = weight_inplace_update
        self.base: ModelHandle | None = getattr(model, "handle", None)
        self.patches: dict[str, list[Any]] = {}
        self.backup: dict[str, Any] = {}
        self.object_patches: dict[str, Any] = {}
        self.object_patches_backup: dict[str, Any] = {}
        self.weight_wrapper_patches: dict[str, Any] = {}
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.patches_uuid = uuid.uuid4()
        self.parent: Any = None
        self.attachments: dict[str, Any] = {}
        self.additional_models: dict[str, list[Any]] = {}
        self.callbacks = CallbacksMP.init_callbacks()
        self.wrappers = WrappersMP.init_wrappers()
        self.injections: dict[str, list[Any]] = {}
        self.is_injected = False
        self.skip_injection = False
        self.hook_patches: dict[Any, Any] = {}
        self.forced_hooks: Any = None
        self.current_hooks: Any = None
        self.is_clip = False
        self.force_cast_weights = False

    # -- the value behind it

    def undressed(self) -> Any:
        """The model handle with everything that was patched here."""
        if self.base is None:
            return self
        handle = self.base.patched(*self._weight_patches())
        around = Around(self)
        around.base_noise = around.noise = handle.noise
        if "model_sampling" in self.object_patches:
            from comfy.model_sampling import undress

            handle = handle.with_noise(undress(self.object_patches["model_sampling"]))
            around.noise = handle.noise
        for name, taps in taps_of(self).items():
            handle = replace(handle, taps={**handle.taps, name: (*handle.taps.get(name, ()), *taps)})
        if self._touched():
            handle = handle.with_tap("net", around)
        return handle

    def _touched(self) -> bool:
        options = [self.model_options != {"transformer_options": {}}, self.patches, self.object_patches, self.attachments, self.injections]
        return bool(any(options) or self.additional_models or any(self.wrappers.values()) or any(self.callbacks.values()))

    def _weight_patches(self) -> list[Patch]:
        from comfy.lora import delta_of

        made: list[Patch] = []
        for key, entries in self.patches.items():
            for strength, value, strength_model, offset, function, mark in entries:
                delta = delta_of(strength, value, strength_model, offset, function, key)
                made.append(PackPatch(key.removeprefix(PREFIX), strength, f"{mark}|{key}", delta))
        return made

    # -- copies

    def clone(self, disable_dynamic: bool = False, model_override: Any = None) -> Any:
        made = copy.copy(self)
        made.patches = {k: v[:] for k, v in self.patches.items()}
        made.object_patches = self.object_patches.copy()
        made.model_options = create_model_options_clone(self.model_options)
        made.attachments = {k: getattr(v, "on_model_patcher_clone", lambda v=v: v)() for k, v in self.attachments.items()}
        made.additional_models = {k: list(v) for k, v in self.additional_models.items()}
        made.callbacks = copy_nested_dicts(self.callbacks)
        made.wrappers = copy_nested_dicts(self.wrappers)
        made.injections = {k: list(v) for k, v in self.injections.items()}
        made.backup, made.object_patches_backup = {}, {}
        made.parent = self
        made.is_injected = False
        if hasattr(self.model, "with_patcher"):
            made.model = self.model.with_patcher(made)
        for callback in self.get_all_callbacks(CallbacksMP.ON_CLONE):
            callback(self, made)
        return made

    def is_clone(self, other: Any) -> bool:
        if self.base is not None and getattr(other, "base", None) is not None:
            return self.base.loadable.key == other.base.loadable.key
        return getattr(other, "model", None) is self.model

    def clone_has_same_weights(self, clone: Any) -> bool:
        return self.is_clone(clone) and self.patches_uuid == clone.patches_uuid

    # -- facts

    def model_size(self) -> int:
        if self.base is not None:
            return sum(t.nbytes for t in self.base.loadable.source.values())
        return self.size or comfy.model_management.module_size(self.model)

    def loaded_size(self) -> int:
        return 0

    def lowvram_patch_counter(self) -> int:
        return 0

    def model_dtype(self) -> Any:
        if self.base is not None:
            return self.base.loadable.dtype
        return getattr(self.model, "get_dtype", lambda: next(self.model.parameters()).dtype)()

    def current_loaded_device(self) -> Any:
        return self.load_device if self.base is not None else next(self.model.parameters()).device

    def memory_required(self, input_shape: Any) -> int:
        return self.model.memory_required(input_shape)

    def set_model_compute_dtype(self, dtype: Any) -> None:
        if self.base is not None:
            self.base = replace(self.base, loadable=replace(self.base.loadable, dtype=dtype))
        self.add_object_patch("manual_cast_dtype", dtype)

    # -- options

    def set_model_sampler_cfg_function(self, sampler_cfg_function: Any, disable_cfg1_optimization: bool = False) -> None:
        if len(inspect.signature(sampler_cfg_function).parameters) == 3:
            function = sampler_cfg_function
            sampler_cfg_function = lambda args: function(args["cond"], args["uncond"], args["cond_scale"])  # noqa: E731
        self.model_options["sampler_cfg_function"] = sampler_cfg_function
        if disable_cfg1_optimization:
            self.model_options["disable_cfg1_optimization"] = True

    def set_model_sampler_post_cfg_function(self, post_cfg_function: Any, disable_cfg1_optimization: bool = False) -> None:
        set_model_options_post_cfg_function(self.model_options, post_cfg_function, disable_cfg1_optimization)

    def set_model_sampler_pre_cfg_function(self, pre_cfg_function: Any, disable_cfg1_optimization: bool = False) -> None:
        set_model_options_pre_cfg_function(self.model_options, pre_cfg_function, disable_cfg1_optimization)

    def set_model_sampler_calc_cond_batch_function(self, sampler_calc_cond_batch_function: Any) -> None:
        self.model_options["sampler_calc_cond_batch_function"] = sampler_calc_cond_batch_function

    def set_model_unet_function_wrapper(self, unet_wrapper_function: Any) -> None:
        self.model_options["model_function_wrapper"] = unet_wrapper_function

    def set_model_denoise_mask_function(self, denoise_mask_function: Any) -> None:
        self.model_options["denoise_mask_function"] = denoise_mask_function

    def set_model_patch(self, patch: Any, name: str) -> None:
        patches = self.model_options["transformer_options"].setdefault("patches", {})
        patches[name] = [*patches.get(name, []), patch]

    def set_model_patch_replace(self, patch: Any, name: str, block_name: str, number: int, transformer_index: int | None = None) -> None:
        set_model_options_patch_replace(self.model_options, patch, name, block_name, number, transformer_index)

    def set_model_attn1_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "attn1_patch")

    def set_model_attn2_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "attn2_patch")

    def set_model_attn1_replace(self, patch: Any, block_name: str, number: int, transformer_index: int | None = None) -> None:
        self.set_model_patch_replace(patch, "attn1", block_name, number, transformer_index)

    def set_model_attn2_replace(self, patch: Any, block_name: str, number: int, transformer_index: int | None = None) -> None:
        self.set_model_patch_replace(patch, "attn2", block_name, number, transformer_index)

    def set_model_attn1_output_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "attn1_output_patch")

    def set_model_attn2_output_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "attn2_output_patch")

    def set_model_input_block_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "input_block_patch")

    def set_model_input_block_patch_after_skip(self, patch: Any) -> None:
        self.set_model_patch(patch, "input_block_patch_after_skip")

    def set_model_output_block_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "output_block_patch")

    def set_model_emb_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "emb_patch")

    def set_model_forward_timestep_embed_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "forward_timestep_embed_patch")

    def set_model_double_block_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "double_block")

    def set_model_post_input_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "post_input")

    def model_patches_to(self, device: Any) -> None:
        for functions in self.model_options["transformer_options"].get("patches", {}).values():
            for i, f in enumerate(functions):
                if hasattr(f, "to"):
                    functions[i] = f.to(device)

    def model_patches_models(self) -> list[Any]:
        return []

    # -- objects in the model

    def add_object_patch(self, name: str, obj: Any) -> None:
        self.object_patches[name] = obj

    def get_model_object(self, name: str) -> Any:
        """An attribute of the model by its dotted path, as patched here."""
        if name in self.object_patches:
            return self.object_patches[name]
        if name in self.object_patches_backup:
            return self.object_patches_backup[name]
        return comfy.utils.get_attr(self.model, name)

    # -- weights

    def model_state_dict(self, filter_prefix: str | None = None) -> dict[str, Any]:
        if self.base is not None:
            found = {PREFIX + k: v for k, v in self.base.loadable.source.items()}
        else:
            found = dict(self.model.state_dict())
        return {k: v for k, v in found.items() if filter_prefix is None or k.startswith(filter_prefix)}

    def add_patches(self, patches: Any, strength_patch: float = 1.0, strength_model: float = 1.0) -> list[Any]:
        """Keep the patches whose weight exists; the keys that were accepted."""
        known = self.base.loadable.source if self.base is not None else None
        state = self.model.state_dict() if known is None else None
        mark = uuid.uuid4().hex
        accepted = []
        for full, value in patches.items():
            key, offset, function = (*full, None, None)[:3] if isinstance(full, tuple) else (full, None, None)
            if (key.removeprefix(PREFIX) in known) if known is not None else (key in state):
                accepted.append(full)
                self.patches.setdefault(key, []).append((strength_patch, value, strength_model, offset, function, mark))
        self.patches_uuid = uuid.uuid4()
        return accepted

    def get_key_patches(self, filter_prefix: str | None = None) -> dict[str, list[Any]]:
        """Per weight: (weight, conversion) and then the patches on it, as another model's `add_patches` takes them."""
        made: dict[str, list[Any]] = {}
        for key, weight in self.model_state_dict(filter_prefix).items():
            made[key] = [(weight, lambda w: w), *(entry[:5] for entry in self.patches.get(key, ()))]
        return made

    def calculate_weight(self, patches: Any, weight: Any, key: str, intermediate_dtype: Any = torch.float32) -> Any:
        from comfy.lora import calculate_weight

        return calculate_weight(patches, weight, key, intermediate_dtype)

    def patch_weight_to_device(self, key: str, device_to: Any = None, inplace_update: bool = False) -> None:
        """Weights are patched when they are fetched."""

    def get_ram_usage(self) -> int:
        return self.model_size()

    # -- loading: the pool decides

    def load(
        self, device_to: Any = None, lowvram_model_memory: int = 0, force_patch_weights: bool = False, full_load: bool = False
    ) -> None:
        if self.base is None:
            self.model.to(self.load_device if device_to is None else device_to)
        for callback in self.get_all_callbacks(CallbacksMP.ON_LOAD):
            callback(self, device_to, lowvram_model_memory, force_patch_weights, full_load)

    def patch_model(
        self, device_to: Any = None, lowvram_model_memory: int = 0, load_weights: bool = True, force_patch_weights: bool = False
    ):
        if load_weights:
            self.load(device_to, lowvram_model_memory, force_patch_weights)
        return self.model

    def unpatch_model(self, device_to: Any = None, unpatch_weights: bool = True) -> None:
        self.eject_model()
        if self.base is None and device_to is not None:
            self.model.to(device_to)

    def partially_load(self, device_to: Any, extra_memory: int = 0, force_patch_weights: bool = False) -> int:
        self.load(device_to)
        return 0

    def partially_unload(self, device_to: Any, memory_to_free: int = 0, force_patch_weights: bool = False) -> int:
        return 0

    def detach(self, unpatch_all: bool = True) -> Any:
        self.eject_model()
        for callback in self.get_all_callbacks(CallbacksMP.ON_DETACH):
            callback(self, unpatch_all)
        return self.model

    def use_ejected(self, skip_and_inject_on_exit_only: bool = False) -> AutoPatcherEjector:
        return AutoPatcherEjector(self, skip_and_inject_on_exit_only)

    # -- callbacks, wrappers, attachments, injections

    def add_callback(self, call_type: str, callback: Any) -> None:
        self.add_callback_with_key(call_type, None, callback)

    def add_callback_with_key(self, call_type: str, key: Any, callback: Any) -> None:
        self.callbacks.setdefault(call_type, {}).setdefault(key, []).append(callback)

    def remove_callbacks_with_key(self, call_type: str, key: Any) -> None:
        self.callbacks.get(call_type, {}).pop(key, None)

    def get_callbacks(self, call_type: str, key: Any) -> list[Any]:
        return self.callbacks.get(call_type, {}).get(key, [])

    def get_all_callbacks(self, call_type: str) -> list[Any]:
        return [f for functions in self.callbacks.get(call_type, {}).values() for f in functions]

    def add_wrapper(self, wrapper_type: str, wrapper: Any) -> None:
        self.add_wrapper_with_key(wrapper_type, None, wrapper)

    def add_wrapper_with_key(self, wrapper_type: str, key: Any, wrapper: Any) -> None:
        self.wrappers.setdefault(wrapper_type, {}).setdefault(key, []).append(wrapper)
        options = self.model_options.setdefault("transformer_options", {})
        options.setdefault("wrappers", {}).setdefault(wrapper_type, {}).setdefault(key, []).append(wrapper)

    def remove_wrappers_with_key(self, wrapper_type: str, key: Any) -> None:
        self.wrappers.get(wrapper_type, {}).pop(key, None)
        self.model_options.get("transformer_options", {}).get("wrappers", {}).get(wrapper_type, {}).pop(key, None)

    def get_wrappers(self, wrapper_type: str, key: Any) -> list[Any]:
        return self.wrappers.get(wrapper_type, {}).get(key, [])

    def get_all_wrappers(self, wrapper_type: str) -> list[Any]:
        return [f for functions in self.wrappers.get(wrapper_type, {}).values() for f in functions]

    def set_attachments(self, key: str, attachment: Any) -> None:
        self.attachments[key] = attachment

    def get_attachment(self, key: str) -> Any:
        return self.attachments.get(key)

    def remove_attachments(self, key: str) -> None:
        self.attachments.pop(key, None)

    def set_injections(self, key: str, injections: Any) -> None:
        self.injections[key] = injections

    def get_injections(self, key: str) -> Any:
        return self.injections.get(key)

    def remove_injections(self, key: str) -> None:
        self.injections.pop(key, None)

    def inject_model(self) -> None:
        if self.is_injected or self.skip_injection:
            return
        for injections in self.injections.values():
            for injection in injections:
                injection.inject(self)
                self.is_injected = True
        for callback in self.get_all_callbacks(CallbacksMP.ON_INJECT_MODEL):
            callback(self)

    def eject_model(self) -> None:
        if not self.is_injected:
            return
        for injections in self.injections.values():
            for injection in injections:
                injection.eject(self)
        self.is_injected = False
        for callback in self.get_all_callbacks(CallbacksMP.ON_EJECT_MODEL):
            callback(self)

    def set_additional_models(self, key: str, models: Any) -> None:
        self.additional_models[key] = models

    def remove_additional_models(self, key: str) -> None:
        self.additional_models.pop(key, None)

    def get_additional_models_with_key(self, key: str) -> list[Any]:
        return self.additional_models.get(key, [])

    def get_additional_models(self) -> list[Any]:
        return [m for models in self.additional_models.values() for m in models]

    def get_nested_additional_models(self) -> list[Any]:
        found = []
        for model in self.get_additional_models():
            found += [model, *model.get_nested_additional_models()]
        return found

    def pre_run(self) -> None:
        for callback in self.get_all_callbacks(CallbacksMP.ON_PRE_RUN):
            callback(self)

    def prepare_state(self, timestep: Any) -> None:
        for callback in self.get_all_callbacks(CallbacksMP.ON_PREPARE_STATE):
            callback(self, timestep)

    def cleanup(self) -> None:
        for callback in self.get_all_callbacks(CallbacksMP.ON_CLEANUP):
            callback(self)

    # -- hooks on weights belong to conditioning here

    def apply_hooks(self, hooks: Any, force_apply: bool = False) -> dict[str, Any]:
        return {}

    def unpatch_hooks(self, whitelist_keys_set: Any = None) -> None:
        self.current_hooks = None

    def clean_hooks(self) -> None:
        self.current_hooks = None

    def register_all_hook_patches(self, hooks: Any, target_dict: Any, model_options: Any = None, registered: Any = None) -> None:
        for callback in self.get_all_callbacks(CallbacksMP.ON_REGISTER_ALL_HOOK_PATCHES):
            callback(self, hooks, target_dict, model_options, registered)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            HOST.want(f"comfy.model_patcher.ModelPatcher.{name}")
        raise AttributeError(f"'ModelPatcher' object has no attribute {name!r} here")


def _own(taps: Any) -> tuple[Any, ...]:
    return tuple(t for t in taps if not isinstance(t[1] if isinstance(t, tuple) and len(t) == 2 else t, FromPack))


def dress(handle: ModelHandle) -> ModelPatcher:
    """A model of ours; one that came from a pack keeps what the pack had put on it."""
    from comfy.model_base import of

    around = next((t for t in reversed(handle.taps.get("net", ())) if isinstance(t, Around)), None)
    taps = {name: kept for name, taps in handle.taps.items() if (kept := _own(taps))}
    base = replace(handle, taps=taps, patches=tuple(p for p in handle.patches if not isinstance(p, PackPatch)))
    if around is None:
        patcher = ModelPatcher(of(base))
        patcher.model = patcher.model.with_patcher(patcher)
        return patcher
    patcher = around.patcher.clone()
    if handle.noise is around.noise:
        base = base.with_noise(around.base_noise)
    else:  # a node of ours has set another one since
        patcher.object_patches.pop("model_sampling", None)
    patcher.base = base
    patcher.model = of(base).with_patcher(patcher)
    return patcher
