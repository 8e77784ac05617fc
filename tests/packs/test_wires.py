"""Values of wires as packs see them: hooks, picture encoders, enlarging and style models, guiders; and the way back."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from backend.codecs.upscaler import Upscaler
from backend.diffusion.hooks import Hook, Hooks
from backend.encoders.clip_vision.handle import VisionHandle
from backend.encoders.clip_vision.net import ClipVision, VisionSizes
from backend.memory.pool import Loadable, Pool
from backend.packs import importer
from backend.packs.facade import dress, undress
from backend.packs.host import HOST
from tests.packs.home import Home, node, sampled
from tests.packs.test_modelled import opened

PACK = """
    import comfy.hooks
    import comfy.sd
    import torch
    from comfy_extras.nodes_perpneg import Guider_PerpNeg

    NAME = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"

    def lora(model):
        weight = next(v for k, v in model.model_state_dict().items() if k.endswith("middle_block.1.transformer_blocks.0.attn1.to_q.weight"))
        return {f"{NAME}.lora_up.weight": torch.ones(weight.shape[0], 2), f"{NAME}.lora_down.weight": torch.ones(2, weight.shape[1]) * 0.02}

    class Make:
        INPUT_TYPES = classmethod(lambda cls: {"required": {"model": ("MODEL",), "clip": ("CLIP",), "last": ("FLOAT", {"default": 1.0})}})
        RETURN_TYPES = ("HOOKS", "HOOK_KEYFRAMES", "MODEL")
        FUNCTION = "go"

        def go(self, model, clip, last):
            _, _, group = comfy.hooks.load_hook_lora_for_models(model, clip, lora(model), 1.0, 0.0)
            frames = comfy.hooks.HookKeyframeGroup()
            frames.add(comfy.hooks.HookKeyframe(last, 0.4))
            frames.add(comfy.hooks.HookKeyframe(1.0, 0.0))
            whole, _ = comfy.sd.load_lora_for_models(model, None, lora(model), 1.0, 0.0)
            return (comfy.hooks.HookGroup.combine_all_hooks([group, None]), frames, whole)

    class Carry:
        INPUT_TYPES = classmethod(lambda cls: {"required": {"cond": ("CONDITIONING",), "hooks": ("HOOKS",)}})
        RETURN_TYPES = ("CONDITIONING",)
        FUNCTION = "go"

        def go(self, cond, hooks):
            assert len(hooks.clone_and_combine(None)) == 1 and len(hooks.clone_and_combine(hooks)) == 1
            return (comfy.hooks.set_hooks_for_conditioning(cond, hooks),)

    class PerpNeg:
        INPUT_TYPES = classmethod(lambda cls: {"required": {
            "model": ("MODEL",), "cond": ("CONDITIONING",), "negative": ("CONDITIONING",), "empty": ("CONDITIONING",)}})
        RETURN_TYPES = ("GUIDER",)
        FUNCTION = "go"

        def go(self, model, cond, negative, empty):
            guider = Guider_PerpNeg(model)
            guider.set_conds(cond, negative, empty)
            guider.set_cfg(2.0, 0.5)
            return (guider,)

    NODE_CLASS_MAPPINGS = {"WireMake": Make, "WireCarry": Carry, "WirePerpNeg": PerpNeg}
"""


@pytest.fixture
def wires(home: Home) -> Home:
    home.write("wires/__init__.py", PACK)
    return opened(home)


def test_hooks_of_a_pack_change_the_weights_for_one_conditioning(wires: Home) -> None:
    graph = sampled()
    graph["h"] = node("WireMake", model=["1", 0], clip=["1", 1], last=1.0)
    graph["k"] = node("SetHookKeyframes", hooks=["h", 0], hook_kf=["h", 1])
    graph["+"] = node("WireCarry", cond=["2", 0], hooks=["k", 0])
    graph["-"] = node("WireCarry", cond=["3", 0], hooks=["k", 0])

    def latent(**inputs: Any) -> torch.Tensor:
        graph["5"]["inputs"] |= {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], **inputs}
        wires.ran(graph)
        made: torch.Tensor = wires.results("5")[0][0]["samples"]
        return made

    plain, hooked = latent(), latent(positive=["+", 0], negative=["-", 0])
    assert torch.allclose(hooked, latent(model=["h", 2]), atol=1e-4), "on both sides it is the LoRA itself"
    assert not torch.allclose(hooked, plain, atol=1e-3)
    graph["h"]["inputs"]["last"] = 0.0
    half = latent(positive=["+", 0], negative=["-", 0])
    assert not torch.allclose(half, hooked, atol=1e-3) and not torch.allclose(half, plain, atol=1e-3)


def test_a_guider_with_three_prompts(wires: Home) -> None:
    graph = sampled()
    graph["n"], graph["k"] = node("RandomNoise", noise_seed=1), node("KSamplerSelect", sampler_name="euler")
    graph["s"] = node("BasicScheduler", model=["1", 0], scheduler="normal", steps=3, denoise=1.0)
    graph["g"] = node("WirePerpNeg", model=["1", 0], cond=["2", 0], negative=["3", 0], empty=["3", 0])
    graph["5"] = node("SamplerCustomAdvanced", noise=["n", 0], guider=["g", 0], sampler=["k", 0], sigmas=["s", 0], latent_image=["4", 0])
    wires.ran(graph)
    theirs = wires.results("5")[0][0]["samples"]
    three = {"positive": ["2", 0], "negative": ["3", 0], "empty_conditioning": ["3", 0]}
    graph["g"] = node("PerpNegGuider", model=["1", 0], cfg=2.0, neg_scale=0.5, **three)
    wires.ran(graph)
    assert torch.allclose(theirs, wires.results("5")[0][0]["samples"], atol=1e-4)


def test_encoders_and_small_models(home: Home) -> None:
    importer.install()
    HOST.services.pool = Pool(torch.device("cpu"))
    sizes = VisionSizes(width=16, layers=2, heads=2, mlp=32, patch=7, positions=17, projection=8)
    torch.manual_seed(0)
    weights = {name: torch.randn(p.shape) * 0.1 for name, p in ClipVision(sizes).named_parameters()}
    handle = VisionHandle(Loadable("v", lambda: ClipVision(sizes), weights, {}, "", torch.float32), sizes)
    seen: Any = dress(handle)
    image = torch.rand(2, 30, 20, 3)
    made = seen.encode_image(image, crop=False)
    want = handle.encode_image(image, HOST.services.pool, False)
    assert torch.equal(made.penultimate_hidden_states, want.penultimate_hidden_states) and made["image_embeds"].shape == (2, 8)
    assert undress(seen) is handle and torch.equal(undress(made).last_hidden_state, want.last_hidden_state) and seen.image_size == 28
    made["image_embeds"] = made.image_embeds * 2
    assert torch.equal(undress(made).image_embeds, want.image_embeds * 2)

    net = torch.nn.Upsample(scale_factor=2)
    descriptor = SimpleNamespace(model=net, scale=2, input_channels=3)
    upscaler: Any = dress(Upscaler("x2", 2, type("Descriptor", (), {**vars(descriptor), "__call__": lambda self, x: net(x)})()))
    assert upscaler.to("cpu").scale == 2 and upscaler(torch.rand(1, 3, 4, 4)).shape[-1] == 8 and isinstance(undress(upscaler), Upscaler)
    group = Hooks((Hook(None, None),))
    dressed: Any = dress(group)
    assert dressed.hooks == group.hooks and dress(dressed) is dressed
    assert "comfy.hooks" in sys.modules
