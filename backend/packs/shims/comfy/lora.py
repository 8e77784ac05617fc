"""Weight patches: from adapter files to patches by weight, and from patches to weights."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import torch

from backend.weights.adapters.names import Rows, text_aliases, unet_aliases
from backend.weights.adapters.read import read_adapters
from backend.weights.file import Entry, WeightFile
from backend.weights.slot import Delta

LORA_CLIP_MAP = {
    "mlp.fc1": "mlp_fc1",
    "mlp.fc2": "mlp_fc2",
    "self_attn.k_proj": "self_attn_k_proj",
    "self_attn.q_proj": "self_attn_q_proj",
    "self_attn.v_proj": "self_attn_v_proj",
    "self_attn.out_proj": "self_attn_out_proj",
}


class StateDict(WeightFile):
    """A dict of tensors as a weight file."""

    def __init__(self, tensors: Any, name: str = "weights in memory") -> None:
        self.tensors = {k: v for k, v in tensors.items() if isinstance(v, torch.Tensor)}
        self.path, self.metadata = Path(name), {}
        self._mark = f"{name}@{uuid.uuid4().hex}"

    @property
    def mark(self) -> str:
        return self._mark

    def __getitem__(self, key: str) -> Entry:
        t = self.tensors[key]
        return Entry(tuple(t.shape), t.dtype, t.nbytes)

    def __iter__(self) -> Any:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def tensor(self, key: str) -> Any:
        return self.tensors[key]


def load_lora(lora: Any, to_load: Any, log_missing: bool = True) -> dict[Any, Any]:
    """{weight: patch} for the modules of `lora` that `to_load` (module name in the file -> weight) knows."""
    adapters = read_adapters(StateDict(lora))
    patches: dict[Any, Any] = {}
    for target, adapter in adapters.by_target.items():
        key = to_load.get(target.module)
        if key is None:
            continue
        if target.leaf == "bias" and isinstance(key, str) and key.endswith(".weight"):
            key = f"{key.removesuffix('.weight')}.bias"
        patches[key] = ("adapter", adapter)
    return patches


def model_lora_keys_unet(model: Any, key_map: Any = None) -> dict[str, Any]:
    """Module names in adapter files -> weights of a model (a `BaseModel`)."""
    found = {} if key_map is None else key_map
    handle = model.handle
    source = handle.loadable.source
    for alias, place in unet_aliases(source, handle.spellings()).items():
        if isinstance(place, str):
            found[alias] = f"diffusion_model.{place}"
        elif isinstance(place, Rows):
            found[alias] = (f"diffusion_model.{place.module}.weight", (0, place.start, place.count))
    for name in source:
        if name.endswith(".weight"):
            module = name.removesuffix(".weight")
            found.setdefault("lora_unet_" + module.replace(".", "_"), f"diffusion_model.{name}")
            found.setdefault(f"diffusion_model.{module}", f"diffusion_model.{name}")
    return found


def model_lora_keys_clip(model: Any, key_map: Any = None) -> dict[str, Any]:
    """Module names in adapter files -> weights of a text encoder (`clip.cond_stage_model`)."""
    found = {} if key_map is None else key_map
    source = model.handle.loadable.source
    for alias, name in text_aliases(source).items():
        found[alias] = name
    return found


def delta_of(strength: float, value: Any, strength_model: float, offset: Any, function: Any, key: str) -> Delta:
    """A patch as a change of one weight."""
    return lambda weight: calculate_weight([(strength, value, strength_model, offset, function)], weight, key)


def calculate_weight(patches: Any, weight: Any, key: str, intermediate_dtype: Any = torch.float32, original_weights: Any = None) -> Any:
    """`weight` with patches [(strength, value, strength of the model, (dim, start, length) | None, function | None), ...] applied."""
    for entry in patches:
        strength, value, strength_model, offset, function = (*entry, None, None)[:5]
        function = function if callable(function) else lambda x: x
        part = weight if offset is None else weight.narrow(offset[0], offset[1], offset[2])
        if strength_model != 1.0:
            part *= strength_model
        changed = _changed(value, part, strength, function, key, intermediate_dtype)
        if offset is None:
            weight = changed
        elif changed is not part:
            part.copy_(changed)
    return weight


def _changed(value: Any, weight: Any, strength: float, function: Any, key: str, dtype: Any) -> Any:
    if isinstance(value, list):
        base = value[0][1](value[0][0].to(weight.device, dtype, copy=True)) if isinstance(value[0], tuple) else value[0]
        value = ("diff", (calculate_weight(value[1:], base, key, dtype),))
    if hasattr(value, "calculate_weight"):  # an adapter object of a pack
        return value.calculate_weight(weight, key, strength, 1.0, None, function, dtype)
    if isinstance(value, torch.Tensor):
        kind, args = "diff", (value,)
    elif len(value) == 1:
        kind, args = "diff", value
    else:
        kind, args = value[0], value[1]
    if kind == "adapter":
        return args.apply(weight, strength)
    args = args if isinstance(args, (tuple, list)) else (args,)
    if kind == "diff":
        diff = args[0].to(weight.device, dtype)
        if diff.shape != weight.shape:
            options = args[1] if len(args) > 1 and isinstance(args[1], dict) else {}
            if not options.get("pad_weight") or diff.ndim != weight.ndim:
                return weight
            grown = weight.new_zeros([max(a, b) for a, b in zip(weight.shape, diff.shape)])
            grown[tuple(slice(0, n) for n in weight.shape)] = weight
            weight = grown
        return weight.add_(function(strength * diff))
    if kind == "set":
        return weight.copy_(args[0].to(weight))
    if kind == "lora":
        up, down, alpha, mid, magnitude = (*args, None, None, None)[:5]
        return weight.add_(function(_low_rank(weight, up, down, alpha, mid, magnitude, strength, dtype)))
    raise ValueError(f"The patch on {key} is of the unknown kind {kind!r}.")


def _low_rank(weight: Any, up: Any, down: Any, alpha: Any, mid: Any, magnitude: Any, strength: float, dtype: Any) -> Any:
    up, down = up.to(weight.device, dtype), down.to(weight.device, dtype)
    scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
    if mid is not None:
        down = torch.einsum("i j k l, j r -> i r k l", mid.to(weight.device, dtype), down.flatten(1)).flatten(1)
    product = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    if magnitude is None:
        return strength * scale * product
    changed = weight + scale * product
    axes = changed.transpose(0, 1).reshape(changed.shape[1], -1).norm(dim=1).reshape(1, changed.shape[1], *[1] * (changed.ndim - 2))
    return strength * (changed * (magnitude.to(weight.device, dtype) / axes) - weight)


def weight_decompose(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError("Decomposed adapters are applied by the application itself.")


def pad_tensor_to_shape(tensor: Any, new_shape: Any) -> Any:
    made = tensor.new_zeros(tuple(new_shape))
    made[tuple(slice(0, n) for n in tensor.shape)] = tensor
    return made
