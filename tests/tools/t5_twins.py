"""Tiny random twins of the models that T5 tells what to paint, for ready-made graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import SD3ControlNetModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from backend.codecs.kl import names as kl_names
from backend.families.auraflow.net import AuraNet, AuraSizes
from backend.families.pixart.net import PixArtNet, PixArtSizes
from backend.families.sd3.net import SD3Net, SD3Sizes
from backend.weights.save import save_safetensors
from tests.families import kinds, texts
from tests.families.published import rooted
from tests.tools.language_twins import drawn, prefixed
from tests.tools.stream_twins import kl

SD3 = SD3Sizes(16, 32, 2, 48, 12, 96, 80, 16, True, (0, 1))
CONTROL: dict[str, Any] = {
    "sample_size": 16, "num_layers": 2, "joint_attention_dim": 96, "pooled_projection_dim": 80, "pos_embed_max_size": 16,
    "attention_head_dim": 16, "num_attention_heads": 2, "caption_projection_dim": 32, "qk_norm": "rms_norm",
}  # fmt: skip


def written(path: Path, state: dict[str, Tensor]) -> None:
    save_safetensors(path, {key: value.contiguous().clone() for key, value in state.items()})


def checkpoint(path: Path) -> None:
    torch.manual_seed(0)
    vae = kl().state_dict()
    parts = {
        "model.diffusion_model.": drawn(SD3Net(SD3)),
        "text_encoders.clip_l.transformer.": rooted(texts.clip(32).state_dict()),
        "text_encoders.clip_g.transformer.": rooted(texts.clip(48, quick=False).state_dict()),
        "text_encoders.t5xxl.transformer.": texts.t5(96).state_dict(),
        "first_stage_model.": {name: part.tensor(vae[part.key]) for name, part in kl_names.from_diffusers(vae).items()},
    }
    written(path, {key: value for prefix, state in parts.items() for key, value in prefixed(state, prefix).items()})


def control(**more: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        torch.manual_seed(0)
        written(path, SD3ControlNetModel(**CONTROL, **more).state_dict())

    return make


def aura(path: Path) -> None:
    torch.manual_seed(0)
    text = UMT5EncoderModel(UMT5Config(d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=32128)).state_dict()
    vae = {key: value for key, value in kinds.make("sdxl").state().items() if key.startswith("first_stage_model.")}
    net = prefixed(drawn(AuraNet(AuraSizes(4, 256, 1, 64, 1, 1, 24, 8, 2))), "model.diffusion_model.")
    written(path, {**net, **prefixed(text, "text_encoders.pile_t5xl.transformer."), **vae})
    Tokenizer(WordLevel({"?": 5}, unk_token="?")).save(str(path.parent / "pile_t5.tokenizer.json"))


def pixart(sized: bool) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        written(path, drawn(PixArtNet(PixArtSizes(4, 8, 48, 16, 64, 1, 24, sized))))

    return make


def t5(path: Path) -> None:
    written(path, texts.t5(24).state_dict())


MAKERS: dict[str, Callable[[Path], None]] = {
    "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors": checkpoint,
    "sd3_medium_incl_clips_t5xxlfp8.safetensors": checkpoint,
    "sd3_controlnet_canny.safetensors": control(),
    "sd3_controlnet_inpainting.safetensors": control(extra_conditioning_channels=1),
    "aura_flow_0.3.safetensors": aura,
    "PixArt-Sigma-XL-2-1024-MS.safetensors": pixart(False),
    "PixArt-XL-2-1024-MS.safetensors": pixart(True),
    "t5xxl_fp16.safetensors": t5,
}
