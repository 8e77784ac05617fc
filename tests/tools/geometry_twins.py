"""Twins of models that look at pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from backend.encoders.matting.net import MattingNet, MattingSizes
from backend.families.sd import names as unet_names
from backend.weights.save import save_safetensors
from tests.families import sam3s
from tests.golden import test_birefnet, test_depth_anything_3, test_lotus, test_moge, test_photomaker, test_zero123
from tests.golden.recorded import filled


def cutter(path: Path) -> None:
    """Small in every way: pictures are seen at their full size of 1024."""
    state = filled(MattingNet(MattingSizes(test_birefnet.TINY, (1,), inner=4, branch=4)))
    save_safetensors(path, {key: value.abs() + 0.5 if "running_var" in key else value for key, value in state.items()})


def lotus(path: Path) -> None:
    state = test_lotus.twin().state_dict()
    save_safetensors(path, {name: state[key].contiguous() for name, key in unet_names.from_diffusers(state).items()})


MAKERS: dict[str, Callable[[Path], None]] = {
    "birefnet.safetensors": cutter,
    "sam3.1_multiplex_fp16.safetensors": lambda path: void(sam3s.written(path)),
    "depth_anything_3_mono_large.safetensors": lambda path: void(test_depth_anything_3.written(path, views=False)),
    "moge_2_vitl_normal_fp16.safetensors": lambda path: void(test_moge.written(path)),
    "lotus-depth-d-v1-1.safetensors": lotus,
    "photomaker-v1.bin": lambda path: torch.save({"id_encoder": test_photomaker.state()[1]}, path),
    "stable_zero123.ckpt": lambda path: void(test_zero123.written(path)),
}


def void(_: object) -> None:
    """Nothing."""
