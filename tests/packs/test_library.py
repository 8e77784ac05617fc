"""Core node classes and library functions called by packs from Python, by their method names and in their order of arguments."""

from __future__ import annotations

import importlib
import inspect
import shutil
from collections.abc import Callable
from typing import Any

import torch

import nodes
from backend.packs import importer
from tests.packs.home import Home


def shapes(value: Any) -> Any:
    """What can be told of a result at a glance: shapes of pictures, masks and latents."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, dict):
        return tuple(value["samples"].shape) if "samples" in value else value
    return None


def test_core_classes_and_functions_called_from_code(home: Home) -> None:
    home.model()
    home.start()
    n: Any = nodes
    custom, masks, many, blend, join, former = (
        importlib.import_module(f"comfy_extras.nodes_{name}")
        for name in ("custom_sampler", "mask", "differential_diffusion", "post_processing", "compositing", "latent")
    )
    sample, samplers, sd, utils, lora, memory, paths = (
        importlib.import_module(name)
        for name in ("comfy.sample", "comfy.samplers", "comfy.sd", "comfy.utils", "comfy.lora", "comfy.model_management", "folder_paths")
    )
    torch.manual_seed(0)
    image, mask = torch.rand(1, 64, 64, 3), torch.zeros(1, 64, 64)
    mask[:, 16:40, 16:40] = 1
    noise = torch.randn(1, 4, 8, 8)
    with torch.inference_mode():
        model, clip, vae = n.CheckpointLoaderSimple().load_checkpoint("tiny.safetensors")
        (positive,), (negative,) = n.CLIPTextEncode().encode(clip, "a star"), n.CLIPTextEncode().encode(clip=clip, text="")
        (latent,) = n.VAEEncode().encode(vae, image)
        (sigmas,), (sampler,) = custom.BasicScheduler().get_sigmas(model, "normal", 2, 1.0), custom.KSamplerSelect().get_sampler("euler")
        (guider,), (random,) = custom.CFGGuider().get_guider(model, positive, negative, 2.0), custom.RandomNoise().get_noise(1)
        pair = (positive, negative)
        small, pixels = (1, 4, 8, 8), (1, 64, 64, 3)
        calls: list[tuple[Callable[[], Any], list[Any]]] = [
            (lambda: n.VAEDecode().decode(vae, latent), [pixels]),
            (lambda: n.VAEDecodeTiled().decode(vae, latent, 512), [pixels]),
            (lambda: n.VAEEncodeTiled().encode(vae, image, 512), [small]),
            (lambda: n.VAEEncodeForInpaint().encode(vae, image, mask, grow_mask_by=6), [small]),
            (lambda: n.InpaintModelConditioning().encode(*pair, image, vae, mask, noise_mask=True), [None, None, small]),
            (lambda: n.KSampler().sample(model, 1, 2, 2.0, "euler", "normal", *pair, latent, denoise=0.5), [small]),
            (lambda: n.KSamplerAdvanced().sample(model, "enable", 1, 2, 2.0, "euler", "normal", *pair, latent, 0, 2, "disable"), [small]),
            (lambda: n.common_ksampler(model, 1, 2, 2.0, "euler", "normal", *pair, latent, denoise=1.0, last_step=2), [small]),
            (lambda: n.ConditioningConcat().concat(*pair), [None]),
            (lambda: n.ConditioningCombine().combine(*pair), [None]),
            (lambda: n.ConditioningAverage().addWeighted(*pair, 0.5), [None]),
            (lambda: n.ConditioningZeroOut().zero_out(positive), [None]),
            (lambda: n.ConditioningSetTimestepRange().set_range(positive, 0.0, 0.5), [None]),
            (lambda: n.ConditioningSetMask().append(positive, mask, "default", 1.0), [None]),
            (lambda: n.ConditioningSetArea().append(positive, 32, 32, 0, 0, 1.0), [None]),
            (lambda: n.CLIPSetLastLayer().set_last_layer(clip, -2), [None]),
            (lambda: n.ImageScale().upscale(image, "bilinear", 32, 16, "disabled"), [(1, 16, 32, 3)]),
            (lambda: n.ImageScaleBy().upscale(image, "area", 0.5), [(1, 32, 32, 3)]),
            (lambda: n.EmptyLatentImage().generate(64, 64), [small]),
            (lambda: n.SetLatentNoiseMask().set_mask(latent, mask), [small]),
            (lambda: n.RepeatLatentBatch().repeat(latent, 2), [(2, 4, 8, 8)]),
            (lambda: n.LatentUpscale().upscale(latent, "nearest-exact", 128, 128, "disabled"), [(1, 4, 16, 16)]),
            (lambda: n.LatentComposite().composite(latent, latent, 0, 0, feather=0), [small]),
            (lambda: n.ImagePadForOutpaint().expand_image(image, 8, 0, 8, 0, 4), [(1, 64, 80, 3), (1, 64, 80)]),
            (lambda: n.ImageBatch().batch(image, image), [(2, 64, 64, 3)]),
            (lambda: custom.SamplerCustom().sample(model, True, 1, 2.0, *pair, sampler, sigmas, latent), [small, small]),
            (lambda: custom.SamplerCustom.execute(model, True, 1, 2.0, *pair, sampler, sigmas, latent).result, [small, small]),
            (lambda: custom.SamplerCustomAdvanced().sample(random, guider, sampler, sigmas, latent), [small, small]),
            (lambda: (custom.Noise_RandomNoise(1).generate_noise(latent),), [small]),
            (lambda: masks.GrowMask().expand_mask(mask, 4, True), [(1, 64, 64)]),
            (lambda: masks.GrowMask.execute(mask, 4, True), [(1, 64, 64)]),
            (lambda: masks.MaskToImage().mask_to_image(mask), [pixels]),
            (lambda: masks.SolidMask().solid(1.0, 8, 4), [(1, 4, 8)]),
            (lambda: masks.CropMask().crop(mask, 0, 0, 8, 4), [(1, 4, 8)]),
            (lambda: masks.MaskComposite().combine(mask, mask, 0, 0, "add"), [(1, 64, 64)]),
            (lambda: many.DifferentialDiffusion().apply(model), [None]),
            (lambda: many.DifferentialDiffusion.execute(model), [None]),
            (lambda: join.JoinImageWithAlpha().join_image_with_alpha(image, mask), [(1, 64, 64, 4)]),
            (lambda: blend.Blend().blend_images(image, image, 0.5, "normal"), [pixels]),
            (lambda: blend.ImageBlur().blur(image, 2, 1.0), [pixels]),
            (lambda: former.LatentBatch().batch(latent, latent), [(2, 4, 8, 8)]),
        ]
        for call, wanted in calls:
            assert [shapes(v) for v in call()] == wanted, inspect.getsource(call)

        saved = n.SaveImage().save_images(image, "x")["ui"]["images"]
        shutil.copy(home.bench.folders.output / saved[0]["filename"], home.bench.folders.input / "in.png")
        assert [shapes(v) for v in n.LoadImage().load_image("in.png")] == [pixels, (1, 64, 64)]
        assert n.PreviewImage().save_images(image, "x", None, None)["ui"]["images"][0]["type"] == "temp"

        file = paths.get_full_path("checkpoints", "tiny.safetensors")
        assert len(lora.model_lora_keys_unet(model.model, {})) > 1000 and len(lora.model_lora_keys_clip(clip.cond_stage_model, {})) > 100
        assert [type(v).__name__ for v in sd.load_checkpoint_guess_config(file)] == ["ModelPatcher", "CLIP", "VAE", "NoneType"]
        assert len(utils.load_torch_file(file, safe_load=True)) > 300
        memory.load_models_gpu([model])
        fast = model.clone()
        importlib.import_module("comfy_api.torch_helpers").set_torch_compile_wrapper(fast, backend="eager")
        assert "net" in fast.undressed().taps and "net" not in model.undressed().taps
        told: list[Any] = []
        out = sample.sample(
            model, noise, 2, 2.0, "euler", "normal", *pair, noise, noise_mask=mask, callback=lambda *step: told.append(step), seed=1
        )
        assert out.shape == noise.shape and [(s[0], s[3]) for s in told] == [(0, 2), (1, 2)]
        k = samplers.KSampler(model, 2, memory.get_torch_device(), "euler", "normal", 1.0, model.model_options)
        assert k.sample(noise, *pair, 2.0, latent_image=noise, seed=1).shape == noise.shape and len(k.sigmas) == 3
        for name, function in vars(memory).items():
            asks = inspect.isfunction(function) and function.__module__ == memory.__name__ and "interrupt" not in name
            if asks and not any(p.default is p.empty and p.kind in (0, 1) for p in inspect.signature(function).parameters.values()):
                function()


def test_parts_of_nets(home: Home) -> None:
    home.start()
    importer.install()
    flux, layers, wan, qwen = (
        importlib.import_module(f"comfy.ldm.{name}") for name in ("flux.math", "flux.layers", "wan.model", "qwen_image.model")
    )
    q, k, v = torch.randn(3, 1, 2, 5, 8)
    turns = flux.rope(torch.arange(5)[None], 8, 10_000)[:, None]
    turned = flux.apply_rope1(q, turns)
    pairs = torch.view_as_complex(q.unflatten(-1, (-1, 2)))
    angles = torch.arange(5)[:, None] / 10_000 ** (torch.arange(4) / 4)
    assert torch.allclose(turned, torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2), atol=1e-5)
    assert torch.equal(qwen.apply_rotary_emb(q, turns), turned)
    made = flux.attention(q, k, v, turns)
    plain = torch.nn.functional.scaled_dot_product_attention(*flux.apply_rope(q, k, turns), v)
    assert torch.allclose(made, plain.transpose(1, 2).flatten(2), atol=1e-5)
    when = torch.tensor([0.5])
    assert torch.allclose(layers.timestep_embedding(when, 8), wan.sinusoidal_embedding_1d(8, when * 1000), atol=1e-4)
