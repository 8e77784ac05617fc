"""Tiny random twins of adapter files, which fit the twins of the models they are for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, ControlNetXSAdapter, T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn

from backend.adapters.places import attention_places
from backend.control.unet import names
from backend.families.sd import names as unet_names
from backend.families.sd.sizes import sizes_of
from backend.weights.file import Entry
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from tests.families import kinds

SEEN = 64  # width of what the twin of an image encoder sees
Make = Callable[[Path], None]


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) / math.sqrt(shape[-1])


def save(path: Path, tensors: dict[str, Tensor]) -> None:
    save_safetensors(path, {key: value.contiguous() for key, value in tensors.items()})


def control(family: str, union: bool = False) -> Make:
    def make(path: Path) -> None:
        config = kinds.make(family).unet.config
        named = ("block_out_channels", "down_block_types", "layers_per_block", "cross_attention_dim", "attention_head_dim",
                 "use_linear_projection", "transformer_layers_per_block", "addition_embed_type", "addition_time_embed_dim",
                 "projection_class_embeddings_input_dim")  # fmt: skip
        options = {name: config[name] for name in named} | {"conditioning_embedding_out_channels": (16, 32)}
        if union:
            width = config["block_out_channels"][0]
            net = ControlNetUnionModel(**options, num_control_type=6, num_trans_channel=width, num_proj_channel=width)
        else:
            net = ControlNetModel(**options)
        state = net.state_dict()
        save(path, {name: state[key] for name, key in names.from_diffusers(state).items()})

    return make


def relative(family: str, rank: int | None = None) -> Make:
    """A control net as its difference to the model, or as low-rank factors of it."""

    def make(path: Path) -> None:
        control(family)(path)
        model, file = kinds.make(family).state(), open_weights(path)
        tensors = {"difference" if rank is None else "lora_controlnet": torch.zeros(1)}
        for name in file:
            base, value = model.get(f"model.diffusion_model.{name}"), file.tensor(name).clone()
            if base is None or (rank is not None and value.ndim < 2):
                tensors[name] = value
            elif rank is None:
                tensors[name] = value - base
            else:
                stem = name.removesuffix("weight")
                tensors |= {f"{stem}up": rand(value.shape[0], rank), f"{stem}down": rand(rank, *value.shape[1:])}
        save(path, tensors)

    return make


def t2i(channels: list[int], factor: int, kind: str) -> Make:
    def make(path: Path) -> None:
        net = T2IAdapter(in_channels=3, channels=channels, num_res_blocks=2, downscale_factor=factor, adapter_type=kind)
        save(path, net.state_dict())

    return make


SD2_TWO: dict[str, Any] = {**kinds.SD2, "layers_per_block": 2, "sample_size": 8}
"""Two blocks a level, as ControlNet-XS has them."""
XL_THREE: dict[str, Any] = {
    **kinds.SDXL, "block_out_channels": (32, 64, 64), "down_block_types": (kinds.PLAIN, kinds.CROSS, kinds.CROSS),
    "up_block_types": (kinds.UP_CROSS, kinds.UP_CROSS, kinds.UP_PLAIN), "transformer_layers_per_block": (1, 1, 1),
    "attention_head_dim": (1, 1, 1), "layers_per_block": 2, "sample_size": 8,
}  # fmt: skip
"""Three levels besides, as the T2I-Adapters of SDXL want them."""


def checkpoint(family: str, config: dict[str, Any]) -> Make:
    """A kind of model with another net."""

    def make(path: Path) -> None:
        dataclasses.replace(kinds.make(family), unet=UNet2DConditionModel(**config)).single(path)

    return make


def xs(config: dict[str, Any]) -> Make:
    """A ControlNet-XS in its folder."""

    def make(path: Path) -> None:
        unet, levels = UNet2DConditionModel(**config), len(config["block_out_channels"])
        options: dict[str, Any] = {"block_out_channels": (8, 16, 16)[:levels], "num_attention_heads": (2, 4, 4)[:levels]}
        net = ControlNetXSAdapter.from_unet(unet, **options, conditioning_embedding_out_channels=(16, 32))
        net.save_pretrained(path.parent)

    return make


def places(family: str) -> tuple[list[int], int]:
    """Widths of the cross-attentions, in the order of adapter files, and of the text."""
    state = kinds.make(family).unet.state_dict()
    header = {name: Entry(tuple(state[key].shape), torch.float32, 0) for name, key in unet_names.from_diffusers(state).items()}
    sizes = sizes_of(header)
    return [width for _, width in attention_places(sizes)], sizes.context


def resampler(width: int, context: int) -> dict[str, Tensor]:
    """One layer that asks what an image encoder saw."""
    made = {"proj_in.weight": rand(width, SEEN), "proj_in.bias": rand(width), "proj_out.weight": rand(context, width)}
    made |= {"proj_out.bias": rand(context), "norm_out.weight": rand(context), "norm_out.bias": rand(context)}
    made |= {f"layers.0.0.norm{n}.{leaf}": rand(width) for n in (1, 2) for leaf in ("weight", "bias")}
    made |= {"layers.0.0.to_q.weight": rand(width, width), "layers.0.0.to_kv.weight": rand(2 * width, width)}
    made |= {"layers.0.0.to_out.weight": rand(width, width), "layers.0.1.0.weight": rand(width), "layers.0.1.0.bias": rand(width)}
    return made | {"layers.0.1.1.weight": rand(4 * width, width), "layers.0.1.3.weight": rand(width, 4 * width)}


def ip_adapter(family: str, plus: bool = False) -> Make:
    def make(path: Path) -> None:
        widths, context = places(family)
        if plus:
            proj = {"latents": rand(1, 4, 64), **resampler(64, context)}
        else:
            proj = {"proj.weight": rand(context * 4, SEEN), "proj.bias": rand(context * 4)}
            proj |= {"norm.weight": rand(context), "norm.bias": rand(context)}
        keys = {f"ip_adapter.{2 * i + 1}.to_{p}_ip.weight": rand(w, context) for i, w in enumerate(widths) for p in "kv"}
        save(path, {**{f"image_proj.{name}": value for name, value in proj.items()}, **keys})

    return make


def face_id(plus: bool) -> Make:
    """Of SD 1: tokens from 512 numbers, with the low-rank changes that came with them."""

    def make(path: Path) -> None:
        widths, context = places("sd1")
        proj = {"proj.0.weight": rand(64, 512), "proj.0.bias": rand(64), "proj.2.weight": rand(context * 4, 64)}
        proj |= {"proj.2.bias": rand(context * 4), "norm.weight": rand(context), "norm.bias": rand(context)}
        if plus:
            proj |= {f"perceiver_resampler.{name}": value for name, value in resampler(context, context).items()}
        tensors = {f"image_proj.{name}": value for name, value in proj.items()}
        for i, width in enumerate(widths):
            number = f"ip_adapter.{2 * i + 1}"
            tensors |= {f"{number}.to_{p}_ip.weight": rand(width, context) for p in "kv"}
            tensors |= {f"{number}.to_q_lora.down.weight": rand(2, width), f"{number}.to_q_lora.up.weight": rand(width, 2)}
        save(path, tensors)

    return make


def word(widths: dict[str, int]) -> Make:
    return lambda path: save(path, {name: rand(2, width) for name, width in widths.items()})


def gligen(path: Path) -> None:
    unet = kinds.make("sd1").unet.config
    options = {k: unet[k] for k in ("block_out_channels", "down_block_types", "up_block_types", "layers_per_block", "cross_attention_dim",
                                    "attention_head_dim")}  # fmt: skip
    state = type(kinds.make("sd1").unet)(**options, attention_type="gated").state_dict()
    fusers = {name: state[key] for name, key in unet_names.from_diffusers(state).items() if ".fuser." in name}
    save(path, fusers | {key: value for key, value in state.items() if key.startswith("position_net.")})


def lora(family: str) -> Make:
    def make(path: Path) -> None:
        tensors = {}
        for name, weight in kinds.make(family).unet.named_parameters():
            if name.endswith("attn2.to_k.weight"):
                module = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
                tensors |= {f"{module}.lora_up.weight": rand(weight.shape[0], 2), f"{module}.lora_down.weight": rand(2, weight.shape[1])}
        save(path, tensors)

    return make


def hypernetwork(path: Path) -> None:
    def net() -> dict[str, Tensor]:
        return {f"linear.{key}": value for key, value in nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 64)).state_dict().items()}

    torch.save({64: (net(), net())}, path)


def style(path: Path) -> None:
    width, context = SEEN, 64
    tensors = {"style_embedding": rand(1, 3, width), "proj": rand(width, context)}
    tensors |= {f"{norm}.{leaf}": rand(width) for norm in ("ln_pre", "ln_post") for leaf in ("weight", "bias")}
    block = {
        "attn.in_proj_weight": rand(3 * width, width),
        "attn.in_proj_bias": rand(3 * width),
        "attn.out_proj.weight": rand(width, width),
    }
    block |= {"attn.out_proj.bias": rand(width), "mlp.c_fc.weight": rand(4 * width, width), "mlp.c_fc.bias": rand(4 * width)}
    block |= {"mlp.c_proj.weight": rand(width, 4 * width), "mlp.c_proj.bias": rand(width)}
    block |= {f"ln_{n}.{leaf}": rand(width) for n in (1, 2) for leaf in ("weight", "bias")}
    save(path, {**tensors, **{f"transformer_layes.0.{key}": value for key, value in block.items()}})


def vision(path: Path) -> None:
    state = kinds.vision(SEEN).state_dict()
    save(path, {key: value for key, value in state.items() if not key.endswith("position_ids")})


def second(path: Path) -> None:
    kinds.make("sd1").single(path)


MAKERS: dict[str, Make] = {
    **{f"control_{name}.pth": control("sd1") for name in ("v11p_sd15_canny", "v11f1p_sd15_depth", "v11p_sd15_inpaint")},
    "control_v11p_sd15_openpose.pth": control("sd1"),
    "controlnet-union-sdxl-1.0.safetensors": control("sdxl", union=True),
    "controlnet-canny-sdxl-1.0.safetensors": control("sdxl"),
    "control-lora-canny-rank128.safetensors": relative("sdxl", 2),
    "diff_control_sd15_canny_fp16.safetensors": relative("sd1"),
    "controlnet-xs-sd2.1-canny/diffusion_pytorch_model.safetensors": xs(SD2_TWO),
    "controlnet-xs-sdxl-canny/diffusion_pytorch_model.safetensors": xs(XL_THREE),
    "v2-1_512-ema-pruned.safetensors": checkpoint("sd2", SD2_TWO),
    "sd_xl_base_1.0_0.9vae.safetensors": checkpoint("sdxl", XL_THREE),
    **{f"t2iadapter_{name}_sd14v1.pth": t2i([32, 64], 8, "full_adapter") for name in ("sketch", "color")},
    "t2i-adapter-sketch-sdxl-1.0.safetensors": t2i([32, 64, 64, 64], 16, "full_adapter_xl"),
    "t2iadapter_style_sd14v1.pth": style,
    "ip-adapter_sd15.safetensors": ip_adapter("sd1"),
    "ip-adapter-plus_sd15.safetensors": ip_adapter("sd1", plus=True),
    "ip-adapter_sdxl_vit-h.safetensors": ip_adapter("sdxl"),
    "ip-adapter-faceid_sd15.bin": face_id(plus=False),
    "ip-adapter-faceid-plusv2_sd15.bin": face_id(plus=True),
    "easynegative.safetensors": word({"emb_params": 64}),
    "negativeXL_D.safetensors": word({"clip_l": 64, "clip_g": 64}),
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors": vision,
    "gligen_sd14_textbox_pruned.safetensors": gligen,
    **{f"{name}.safetensors": lora("sd1") for name in ("lcm-lora-sdv1-5", "Hyper-SD15-8steps-lora", "look", "mood")},
    "anime_3.pt": hypernetwork,
    "dreamshaper_8.safetensors": second,
}
