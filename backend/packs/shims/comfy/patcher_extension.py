"""Wrappers, callbacks and injections by name."""

from __future__ import annotations

from typing import Any


class CallbacksMP:
    ON_CLONE = "on_clone"
    ON_LOAD = "on_load_after"
    ON_DETACH = "on_detach_after"
    ON_CLEANUP = "on_cleanup"
    ON_PRE_RUN = "on_pre_run"
    ON_PREPARE_STATE = "on_prepare_state"
    ON_APPLY_HOOKS = "on_apply_hooks"
    ON_REGISTER_ALL_HOOK_PATCHES = "on_register_all_hook_patches"
    ON_INJECT_MODEL = "on_inject_model"
    ON_EJECT_MODEL = "on_eject_model"

    @classmethod
    def init_callbacks(cls) -> dict[str, dict[Any, list[Any]]]:
        return {v: {} for k, v in vars(cls).items() if k.startswith("ON_")}


class WrappersMP:
    OUTER_SAMPLE = "outer_sample"
    PREPARE_SAMPLING = "prepare_sampling"
    SAMPLER_SAMPLE = "sampler_sample"
    PREDICT_NOISE = "predict_noise"
    CALC_COND_BATCH = "calc_cond_batch"
    APPLY_MODEL = "apply_model"
    DIFFUSION_MODEL = "diffusion_model"

    @classmethod
    def init_wrappers(cls) -> dict[str, dict[Any, list[Any]]]:
        return {v: {} for k, v in vars(cls).items() if k.isupper()}


class PatcherInjection:
    def __init__(self, inject: Any, eject: Any) -> None:
        self.inject, self.eject = inject, eject


def add_callback_with_key(call_type: str, key: Any, callback: Any, transformer_options: Any, is_model_options: bool = False) -> None:
    _add("callbacks", call_type, key, callback, transformer_options, is_model_options)


def add_callback(call_type: str, callback: Any, transformer_options: Any, is_model_options: bool = False) -> None:
    _add("callbacks", call_type, None, callback, transformer_options, is_model_options)


def add_wrapper_with_key(wrapper_type: str, key: Any, wrapper: Any, transformer_options: Any, is_model_options: bool = False) -> None:
    _add("wrappers", wrapper_type, key, wrapper, transformer_options, is_model_options)


def add_wrapper(wrapper_type: str, wrapper: Any, transformer_options: Any, is_model_options: bool = False) -> None:
    _add("wrappers", wrapper_type, None, wrapper, transformer_options, is_model_options)


def _add(group: str, kind: str, key: Any, function: Any, options: dict[str, Any], is_model_options: bool) -> None:
    if is_model_options:
        options = options.setdefault("transformer_options", {})
    options.setdefault(group, {}).setdefault(kind, {}).setdefault(key, []).append(function)


def _get(group: str, kind: str, options: dict[str, Any], is_model_options: bool) -> list[Any]:
    if is_model_options:
        options = options.get("transformer_options", {})
    return [f for functions in options.get(group, {}).get(kind, {}).values() for f in functions]


def get_all_callbacks(call_type: str, transformer_options: Any, is_model_options: bool = False) -> list[Any]:
    return _get("callbacks", call_type, transformer_options, is_model_options)


def get_all_wrappers(wrapper_type: str, transformer_options: Any, is_model_options: bool = False) -> list[Any]:
    return _get("wrappers", wrapper_type, transformer_options, is_model_options)


class WrapperExecutor:
    """Calls wrappers outermost first; each goes on by calling its `executor`."""

    def __init__(self, original: Any, class_obj: Any, wrappers: Any, idx: int) -> None:
        self.original, self.class_obj, self.wrappers, self.idx = original, class_obj, list(wrappers), idx
        self.is_last = idx == len(self.wrappers)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return WrapperExecutor(self.original, self.class_obj, self.wrappers, self.idx + 1).execute(*args, **kwargs)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_last:
            return self.original(*args, **kwargs)
        return self.wrappers[self.idx](self, *args, **kwargs)

    @classmethod
    def new_executor(cls, original: Any, wrappers: Any, idx: int = 0) -> WrapperExecutor:
        return cls(original, None, wrappers, idx)

    @classmethod
    def new_class_executor(cls, original: Any, class_obj: Any, wrappers: Any, idx: int = 0) -> WrapperExecutor:
        return cls(original, class_obj, wrappers, idx)


def copy_nested_dicts(input_dict: dict[Any, Any]) -> dict[Any, Any]:
    """Dicts and lists anew, what they hold as it is."""
    return {k: copy_nested_dicts(v) if isinstance(v, dict) else v.copy() if isinstance(v, list) else v for k, v in input_dict.items()}


def merge_nested_dicts(dict1: dict[Any, Any], dict2: dict[Any, Any], copy_dict1: bool = True) -> dict[Any, Any]:
    """dict1 with dict2 laid over it; lists are joined."""
    merged = copy_nested_dicts(dict1) if copy_dict1 else dict1
    for key, value in dict2.items():
        here = merged.get(key)
        if isinstance(value, dict):
            merged[key] = merge_nested_dicts(here if isinstance(here, dict) else {}, value, False)
        elif isinstance(value, list):
            merged[key] = [*(here if isinstance(here, list) else []), *value]
        else:
            merged[key] = value
    return merged
