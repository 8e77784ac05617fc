"""Conditioning in the form samplers read, and the models that take part."""

from __future__ import annotations

import uuid
from typing import Any

import torch

import comfy.conds


def prepare_mask(noise_mask: Any, shape: Any, device: Any) -> Any:
    """A noise mask as [B, C, ...] of the latents' shape."""
    from backend.diffusion.inpaint import fit_noise_mask

    return fit_noise_mask(noise_mask, shape).to(device)


def convert_cond(cond: Any) -> list[dict[str, Any]]:
    """[[tensor, options], ...] as dicts with the text under "cross_attn"."""
    made = []
    for entry in cond or ():
        if isinstance(entry, dict):
            made.append(entry)
            continue
        tensor, options = entry
        one = {**options, "uuid": uuid.uuid4()}
        if tensor is not None:
            one["cross_attn"] = tensor
            one["model_conds"] = {**options.get("model_conds", {}), "c_crossattn": comfy.conds.CONDCrossAttn(tensor)}
        made.append(one)
    return made


def conditioning_of(conds: Any) -> list[list[Any]]:
    """The way back: dicts as [tensor, options] entries."""
    made = []
    for entry in conds or ():
        if isinstance(entry, dict):
            rest = {k: v for k, v in entry.items() if k not in ("cross_attn", "model_conds", "uuid")}
            tensor = entry.get("cross_attn")
            if tensor is None and "c_crossattn" in entry.get("model_conds", {}):
                tensor = entry["model_conds"]["c_crossattn"].cond
            made.append([tensor if tensor is not None else torch.zeros(1, 77, 768), rest])
        else:
            made.append(list(entry))
    return made


def get_models_from_cond(cond: Any, model_type: str) -> list[Any]:
    return [entry[model_type] for entry in cond if isinstance(entry, dict) and model_type in entry]


def get_additional_models(conds: Any, dtype: Any) -> tuple[list[Any], int]:
    """Control nets and the like, and the memory they need. They bring themselves to the device."""
    found: list[Any] = []
    for cond in conds.values() if isinstance(conds, dict) else ():
        for control in get_models_from_cond(cond, "control"):
            if hasattr(control, "get_models"):
                found += control.get_models()
    return found, 0


def get_additional_models_from_model_options(model_options: Any = None) -> list[Any]:
    return []


def cleanup_additional_models(models: Any) -> None:
    for model in models:
        if hasattr(model, "cleanup"):
            model.cleanup()


def prepare_sampling(
    model: Any, noise_shape: Any, conds: Any, model_options: Any = None, force_full_load: bool = False
) -> tuple[Any, Any, Any]:
    return model.model, conds, []


def cleanup_models(conds: Any, models: Any) -> None:
    cleanup_additional_models(models)


def prepare_model_patcher(model: Any, conds: Any, model_options: Any) -> None:
    return None
