"""Tiny random twins of adapter files, which fit the twins of the models they are for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter
from torch import Tensor, nn

from backend.adapters.places import attention_places
from backend.control.unet import names
from backend.families.sd import names as unet_names
from backend.families.sd.sizes import sizes_of
from backend.weights.file import Entry
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


def t2i(path: Path) -> None:
    net = T2IAdapter(in_channels=3, channels=[32, 64], num_res_blocks=2, downscale_factor=8, adapter_type="full_adapter")
    save(path, net.state_dict())


def places(family: str) -> tuple[list[int], int]:
    """Widths of the cross-attentions, in the order of adapter files, and of the text."""
    state = kinds.make(family).unet.state_dict()
    header = {name: Entry(tuple(state[key].shape), torch.float32, 0) for name, key in unet_names.from_diffusers(state).items()}
    sizes = sizes_of(header)
    return [width for _, width in attention_places(sizes)], sizes.context


def ip_adapter(family: str, plus: bool = False) -> Make:
    def make(path: Path) -> None:
        widths, context = places(family)
        if plus:
            proj = {"latents": rand(1, 4, 64), "proj_in.weight": rand(64, SEEN), "proj_in.bias": rand(64)}
            proj |= {"proj_out.weight": rand(context, 64), "proj_out.bias": rand(context)}
            proj |= {"norm_out.weight": rand(context), "norm_out.bias": rand(context)}
            proj |= {f"layers.0.0.norm{n}.{leaf}": rand(64) for n in (1, 2) for leaf in ("weight", "bias")}
            proj |= {"layers.0.0.to_q.weight": rand(64, 64), "layers.0.0.to_kv.weight": rand(128, 64)}
            proj |= {"layers.0.0.to_out.weight": rand(64, 64), "layers.0.1.0.weight": rand(64), "layers.0.1.0.bias": rand(64)}
            proj |= {"layers.0.1.1.weight": rand(256, 64), "layers.0.1.3.weight": rand(64, 256)}
        else:
            proj = {"proj.weight": rand(context * 4, SEEN), "proj.bias": rand(context * 4)}
            proj |= {"norm.weight": rand(context), "norm.bias": rand(context)}
        keys = {f"ip_adapter.{2 * i + 1}.to_{p}_ip.weight": rand(w, context) for i, w in enumerate(widths) for p in "kv"}
        save(path, {**{f"image_proj.{name}": value for name, value in proj.items()}, **keys})

    return make


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
    "controlnet-union-sdxl-1.0.safetensors": control("sdxl", union=True),
    **{f"t2iadapter_{name}_sd14v1.pth": t2i for name in ("sketch", "color")},
    "t2iadapter_style_sd14v1.pth": style,
    "ip-adapter_sd15.safetensors": ip_adapter("sd1"),
    "ip-adapter-plus_sd15.safetensors": ip_adapter("sd1", plus=True),
    "ip-adapter_sdxl_vit-h.safetensors": ip_adapter("sdxl"),
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors": vision,
    "gligen_sd14_textbox_pruned.safetensors": gligen,
    **{f"{name}.safetensors": lora("sd1") for name in ("lcm-lora-sdv1-5", "Hyper-SD15-8steps-lora", "look", "mood")},
    "anime_3.pt": hypernetwork,
    "dreamshaper_8.safetensors": second,
}
