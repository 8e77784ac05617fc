"""Whole sampled latents with adapters against the diffusers pipeline of the same name, with equal weights and noise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import ControlNetModel, MultiAdapter, T2IAdapter
from torch import Tensor

from backend.adapters.ip.apply import Embeds, Wish, with_pictures
from backend.adapters.ip.spec import load_ip_adapter
from backend.base.errors import BadInput
from backend.control.load import load_control
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.noise import DistilledNoise
from backend.diffusion.patches import again
from backend.diffusion.randomness import GivenNoise
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.diffusion.schedules import schedule
from backend.families.sd.unet import UNetSizes
from backend.memory.pool import Pool
from backend.weights.lora import apply
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from nodes.vae import inpaint_model_conditioning
from tests.families import kinds, tiny
from tests.families.kinds import Kind
from tests.golden import test_ip_adapter as ip
from tests.golden.test_controlnet import seeded, single
from tests.golden.whole import (
    CFG,
    CLOSE,
    SD,
    SEED,
    SIDE,
    STEPS,
    WHOLE,
    euler,
    loaded,
    noise_like,
    ours,
    prompt,
    quiet,
    started,
    texts,
    with_,
    xl,
)
from tests.nodes.bench import Bench


def gap(got: Tensor, want: Tensor) -> float:
    """The largest difference; `-s` shows it."""
    found = float((got - want).abs().max())
    print(f"max abs error {found:.1e}")
    return found


SQUARE = {"original_size": (16, 16), "target_size": (16, 16)}
TOLD = {"height": 16, "width": 16}


def classic(cls: Any, twin: Kind, scheduler: Any, **more: Any) -> Any:
    return quiet(cls(vae=twin.vae, text_encoder=None, tokenizer=None, unet=twin.unet, scheduler=scheduler, safety_checker=None,
                     feature_extractor=None, requires_safety_checker=False, **more))  # fmt: skip


def private(twin: Kind) -> Kind:
    """With a UNet of its own, for pipelines that exchange attentions."""
    return Kind(copy.deepcopy(twin.unet), twin.vae, twin.texts, twin.prefixes)


def control_for(family: str, seed: int = 3) -> Any:
    """A ControlNet with the sizes of the twin."""
    config = kinds.make(family).unet.config
    named = ("block_out_channels", "down_block_types", "layers_per_block", "cross_attention_dim", "attention_head_dim",
             "use_linear_projection", "transformer_layers_per_block", "addition_embed_type", "addition_time_embed_dim",
             "projection_class_embeddings_input_dim")  # fmt: skip
    options = {name: config[name] for name in named}
    return seeded(lambda: ControlNetModel(**options, conditioning_embedding_out_channels=(16, 32)), seed)


def picture(seed: int, side: int = 16) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def steered(conditionings: Any, control: Any) -> Any:
    return tuple(with_(c, control=control) for c in conditionings)


def test_controlnet_of_sdxl_for_a_part_of_sampling(tmp_path: Path) -> None:
    twin, noise, net = kinds.make("sdxl"), noise_like(), control_for("sdxl")
    found, scheduler = loaded(twin, tmp_path), euler()
    pipeline = xl(diffusers.StableDiffusionXLControlNetPipeline, twin, scheduler, controlnet=net)
    want = pipeline(
        **prompt(found, xl=True), **SQUARE, image=picture(1), latents=started(noise, scheduler), guidance_scale=CFG, **WHOLE,
        controlnet_conditioning_scale=0.6, control_guidance_start=0.25, control_guidance_end=0.75,
    ).images  # fmt: skip
    control = load_control(single(net, tmp_path / "net.safetensors"), tiny.services(tmp_path))
    # a step of diffusers counts from its start to its end; ours is known by its sigma
    applied = control.applied(picture(1).movedim(1, -1), 0.6, 0.25, 0.51)
    conds = [with_(c, **TOLD) for c in texts(found)]
    got = ours(found.model, *steered(conds, applied), noise)
    assert gap(got, want) < CLOSE < (ours(found.model, *conds, noise) - want).abs().max()


def test_controlnet_of_sd2(tmp_path: Path) -> None:
    """Text 1024 wide in the real ones, heads of 64, linear projections; the model predicts the velocity."""
    twin, noise, net = kinds.make("sd2"), noise_like(), control_for("sd2")
    found, scheduler = loaded(twin, tmp_path, {"v_pred": torch.zeros(0)}), euler(prediction_type="v_prediction")
    pipeline = classic(diffusers.StableDiffusionControlNetPipeline, twin, scheduler, controlnet=net)
    want = pipeline(
        **prompt(found), image=picture(1), latents=started(noise, scheduler), guidance_scale=CFG, controlnet_conditioning_scale=0.7, **WHOLE
    ).images
    control = load_control(single(net, tmp_path / "net.safetensors"), tiny.services(tmp_path)).applied(picture(1).movedim(1, -1), 0.7)
    got = ours(found.model, *steered(texts(found), control), noise)
    assert gap(got, want) < CLOSE < gap(ours(found.model, *texts(found), noise), want)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_controlnet_from_a_picture(family: str, tmp_path: Path) -> None:
    twin, net = kinds.make(family), control_for(family)
    found, scheduler = loaded(twin, tmp_path), euler()
    assert found.model is not None
    start = torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    options = {"image": start, "control_image": picture(1), "strength": 0.5, "generator": torch.Generator().manual_seed(SEED)}
    if family == "sdxl":
        pipeline = xl(diffusers.StableDiffusionXLControlNetImg2ImgPipeline, twin, scheduler, controlnet=net)
        options |= SQUARE
    else:
        pipeline = classic(diffusers.StableDiffusionControlNetImg2ImgPipeline, twin, scheduler, controlnet=net)
    shared = {"num_inference_steps": STEPS, "output_type": "latent", "guidance_scale": CFG, "controlnet_conditioning_scale": 0.7}
    want = pipeline(**prompt(found, family == "sdxl"), **options, **shared).images
    control = load_control(single(net, tmp_path / "net.safetensors"), tiny.services(tmp_path)).applied(picture(1).movedim(1, -1), 0.7)
    conds = steered([with_(c, **TOLD) for c in texts(found)], control)
    sigmas, form = schedule("simple", found.model.noise, STEPS)[STEPS // 2 :], found.model.family.latent
    guider = CfgGuider(found.model, *conds, CFG)
    got = sample(guider, prepare_noise(start, SEED), form.process_out(start), solver("euler"), sigmas, pool=Pool("cpu"))
    assert gap(form.process_in(got), want) < CLOSE


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_controlnet_with_an_inpainting_model(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin, net, noise = kinds.make(family, 9), control_for(family), noise_like()
    found, scheduler = loaded(twin, tmp_path), euler()
    image, mask = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(1, 16, 16)
    mask[:, 4:12, 6:14] = 1
    hint = torch.where(mask[:, None] > 0.5, -1.0, image.movedim(-1, 1))  # what is to be painted is -1
    named = {
        "image": image.movedim(-1, 1) * 2 - 1,
        "mask_image": mask[:, None],
        "control_image": hint,
        "strength": 1.0,
        "controlnet_conditioning_scale": 1.0,
    }
    if family == "sdxl":
        pipeline = xl(diffusers.StableDiffusionXLControlNetInpaintPipeline, twin, scheduler, controlnet=net)
        named |= SQUARE
    else:
        pipeline = classic(diffusers.StableDiffusionControlNetInpaintPipeline, twin, scheduler, controlnet=net)
    monkeypatch.setattr(diffusers.models.autoencoders.vae.DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    want = pipeline(**prompt(found, family == "sdxl"), **named, latents=started(noise, scheduler), guidance_scale=CFG, **WHOLE).images
    ctx, (positive, negative) = Bench(tmp_path / "home").context(), (with_(c, **TOLD) for c in texts(found))
    parts = inpaint_model_conditioning(ctx, positive=positive, negative=negative, vae=found.vae, pixels=image, mask=mask, noise_mask=False)
    control = load_control(single(net, tmp_path / "net.safetensors"), tiny.services(tmp_path)).applied(hint.movedim(1, -1), 1.0)
    assert gap(ours(found.model, *steered((parts.positive, parts.negative), control), noise), want) < CLOSE


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_controlnet_with_perturbed_attention(family: str, tmp_path: Path) -> None:
    twin, noise, net = kinds.make(family), noise_like(), control_for(family)
    found, scheduler = loaded(twin, tmp_path), euler()
    assert found.model is not None
    options: dict[str, Any] = {"controlnet": net, "pag_applied_layers": ["mid"]}
    if family == "sdxl":
        pipeline = xl(diffusers.StableDiffusionXLControlNetPAGPipeline, private(twin), scheduler, **options)
    else:
        pipeline = classic(diffusers.StableDiffusionControlNetPAGPipeline, private(twin), scheduler, **options)
    want = pipeline(
        **prompt(found, family == "sdxl"), **(SQUARE if family == "sdxl" else {}), image=picture(1), latents=started(noise, scheduler),
        guidance_scale=CFG, controlnet_conditioning_scale=0.7, pag_scale=1.5, **WHOLE,
    ).images  # fmt: skip
    control = load_control(single(net, tmp_path / "net.safetensors"), tiny.services(tmp_path)).applied(picture(1).movedim(1, -1), 0.7)
    conds = steered([with_(c, **TOLD) for c in texts(found)], control)
    got = ours(again.perturbed(found.model, 1.5), *conds, noise)
    assert gap(got, want) < CLOSE < gap(ours(found.model, *conds, noise), want)


def adapter(channels: list[int], path: Path, kind: str = "full_adapter", factor: int = 8, seed: int = 3) -> Any:
    net = seeded(lambda: T2IAdapter(in_channels=3, channels=channels, num_res_blocks=2, downscale_factor=factor, adapter_type=kind), seed)
    save_safetensors(path, {key: value.contiguous() for key, value in net.state_dict().items()})
    return net


@pytest.mark.parametrize(
    ("family", "channels", "kind", "named"),
    [
        ("sd1", [32, 64, 64], "full_adapter_xl", "SDXL, the model is Stable Diffusion 1"),  # as wide as the smallest distilled ones are
        ("sd1", [32, 64, 128, 128], "full_adapter_xl", "SDXL, the model is Stable Diffusion 1"),
        ("sdxl", [32, 64], "full_adapter", r"SD 1\.x, the model is Stable Diffusion XL"),
        ("sdxl", [32, 64, 128, 128], "light_adapter", r"SD 1\.x, the model is Stable Diffusion XL"),
    ],
)
def test_t2i_adapter_of_another_family(family: str, channels: list[int], kind: str, named: str, tmp_path: Path) -> None:
    found = loaded(kinds.make(family), tmp_path)
    adapter(channels, tmp_path / "a.safetensors", kind, 16 if "xl" in kind else 8)
    control = load_control(tmp_path / "a.safetensors", tiny.services(tmp_path)).applied(picture(1, 64).movedim(1, -1), 1.0)
    with pytest.raises(BadInput, match=rf"T2I-Adapter a\.safetensors is for {named}"):
        ours(found.model, *steered(texts(found), control), noise_like())


def test_two_t2i_adapters(tmp_path: Path) -> None:
    twin, noise = kinds.make("sd1"), noise_like()
    found, scheduler = loaded(twin, tmp_path), euler()
    files = [tmp_path / f"a{i}.safetensors" for i in (0, 1)]
    nets = [adapter([32, 64], path, seed=i) for i, path in enumerate(files, 3)]
    pictures, scales = [picture(1, 64), picture(2, 64)], [0.7, 0.4]
    pipeline = classic(diffusers.StableDiffusionAdapterPipeline, twin, scheduler, adapter=MultiAdapter(nets))
    want = pipeline(
        **prompt(found), image=pictures, adapter_conditioning_scale=scales, latents=started(noise, scheduler), guidance_scale=CFG, **WHOLE
    ).images
    control: Any = None
    for path, shown, scale in zip(files, pictures, scales, strict=True):
        control = load_control(path, tiny.services(tmp_path)).applied(shown.movedim(1, -1), scale).after(control)
    got = ours(found.model, *steered(texts(found), control), noise)
    assert gap(got, want) < CLOSE < (ours(found.model, *texts(found), noise) - want).abs().max()


def test_full_adapter_of_sdxl_for_the_first_half(tmp_path: Path) -> None:
    noise, like = noise_like(), kinds.make("sdxl")
    torch.manual_seed(0)
    three = {
        **kinds.SDXL, "block_out_channels": (32, 64, 64), "down_block_types": (kinds.PLAIN, kinds.CROSS, kinds.CROSS),
        "up_block_types": (kinds.UP_CROSS, kinds.UP_CROSS, kinds.UP_PLAIN), "transformer_layers_per_block": (1, 1, 1),
        "attention_head_dim": (1, 1, 1), "sample_size": 8,
    }  # fmt: skip
    twin = Kind(diffusers.UNet2DConditionModel(**three).eval(), like.vae, like.texts, like.prefixes)
    found, scheduler = loaded(twin, tmp_path), euler()
    net = adapter([32, 64, 64, 64], tmp_path / "a.safetensors", "full_adapter_xl", 16)
    none = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    cls = diffusers.StableDiffusionXLAdapterPipeline
    pipeline = quiet(cls(vae=twin.vae, unet=twin.unet, scheduler=scheduler, adapter=net, **none))
    want = pipeline(
        **prompt(found, xl=True), **SQUARE, image=picture(1, 64), adapter_conditioning_scale=0.8, adapter_conditioning_factor=0.5,
        latents=started(noise, scheduler), guidance_scale=CFG, **WHOLE,
    ).images  # fmt: skip
    control = load_control(tmp_path / "a.safetensors", tiny.services(tmp_path)).applied(picture(1, 64).movedim(1, -1), 0.8, 0.0, 0.499)
    conds = [with_(c, **TOLD) for c in texts(found)]
    got = ours(found.model, *steered(conds, control), noise)
    assert gap(got, want) < CLOSE < (ours(found.model, *conds, noise) - want).abs().max()


Put = Callable[[ModelHandle], ModelHandle]
Give = Callable[[Any], dict[str, list[Tensor]]]


def ip_adapter(model: ModelHandle, path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Put, Give]:
    """What puts an adapter at 0.6 on a model, and what puts it on a pipeline and returns its inputs. The negative sees nothing."""
    assert isinstance(model.sizes, UNetSizes)
    monkeypatch.setattr(ip, "CONTEXT", model.sizes.context)
    weights = ip.state("base", ip.widths(model))
    save_safetensors(path, {key: value.contiguous() for key, value in weights.items()})
    embeds = torch.randn(1, ip.CLIP, generator=torch.Generator().manual_seed(2))

    def give(pipeline: Any) -> dict[str, list[Tensor]]:
        sides: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for key, value in weights.items():
            sides[key.partition(".")[0]][key.partition(".")[2]] = value
        pipeline.unet._load_ip_adapter_weights([sides])
        pipeline.set_ip_adapter_scale(0.6)  # reaches only what is loaded
        return {"ip_adapter_image_embeds": [torch.stack([torch.zeros_like(embeds), embeds])]}  # the negative first

    adapter = load_ip_adapter(path, tiny.services(path.parent))
    return lambda to: with_pictures(to, adapter, Embeds(embeds, torch.zeros_like(embeds)), Wish(0.6), Pool("cpu")), give


def test_ip_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin, noise = kinds.make("sd1"), noise_like()
    found, scheduler = loaded(twin, tmp_path), euler()
    assert found.model is not None
    put, give = ip_adapter(found.model, tmp_path / "ip.safetensors", monkeypatch)
    pipeline = classic(diffusers.StableDiffusionPipeline, private(twin), scheduler)
    want = pipeline(**prompt(found), **give(pipeline), latents=started(noise, scheduler), guidance_scale=CFG, **WHOLE).images
    got = ours(put(found.model), *texts(found), noise)
    assert gap(got, want) < CLOSE < (ours(found.model, *texts(found), noise) - want).abs().max()


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_ip_adapter_with_perturbed_attention(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The perturbed prediction sees the picture too, whichever of both was put on the model first."""
    twin, noise = kinds.make(family), noise_like()
    found, scheduler = loaded(twin, tmp_path), euler()
    assert found.model is not None
    put, give = ip_adapter(found.model, tmp_path / "ip.safetensors", monkeypatch)
    if family == "sdxl":
        pipeline = xl(diffusers.StableDiffusionXLPAGPipeline, private(twin), scheduler, pag_applied_layers=["mid"])
    else:
        pipeline = classic(diffusers.StableDiffusionPAGPipeline, private(twin), scheduler, pag_applied_layers=["mid"])
    shared = {**prompt(found, family == "sdxl"), **(SQUARE if family == "sdxl" else {}), "guidance_scale": CFG, **WHOLE}
    want = pipeline(**shared, **give(pipeline), latents=started(noise, scheduler), pag_scale=1.5).images
    conds = [with_(c, **TOLD) for c in texts(found)]
    shown, guided = put(found.model), again.perturbed(found.model, 1.5)
    got = ours(again.perturbed(shown, 1.5), *conds, noise)
    assert gap(got, want) < CLOSE
    assert torch.equal(got, ours(put(guided), *conds, noise))
    assert all(gap(ours(alone, *conds, noise), want) > 0.1 for alone in (shown, guided))


@pytest.mark.parametrize("name", ["lcm", "tcd"])
def test_accelerating_loras(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A LoRA that makes a model fast, with its own solver and no guidance."""
    twin, noise = kinds.make("sd1"), noise_like()
    found = loaded(twin, tmp_path)
    unet, tensors = copy.deepcopy(twin.unet), {}
    generator = torch.Generator().manual_seed(4)
    for key, weight in unet.named_parameters():
        if key.endswith(("to_q.weight", "to_out.0.weight")):
            up, down = (
                torch.randn(weight.shape[0], 2, generator=generator) * 0.3,
                torch.randn(2, weight.shape[1], generator=generator) * 0.3,
            )
            module = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
            tensors |= {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down, f"{module}.alpha": torch.tensor(2.0)}
            weight.data += up @ down
    save_safetensors(tmp_path / "fast.safetensors", tensors)
    cls = {"lcm": diffusers.LCMScheduler, "tcd": diffusers.TCDScheduler}[name]
    scheduler = cls(**{**SD, "timestep_spacing": "leading"}, clip_sample=False, set_alpha_to_one=name == "lcm")
    fresh, drawn = torch.Generator().manual_seed(5), []

    def draw(shape: Any, **kwargs: Any) -> Tensor:
        drawn.append(torch.randn(shape, generator=fresh))
        return drawn[-1]

    monkeypatch.setattr(f"diffusers.schedulers.scheduling_{name}.randn_tensor", draw)
    pipeline = classic(diffusers.StableDiffusionPipeline, Kind(unet, twin.vae, twin.texts, twin.prefixes), scheduler)
    named = {"prompt_embeds": prompt(found)["prompt_embeds"], "guidance_scale": 0.0, "eta": 0.3}
    want = pipeline(**named, latents=noise, **WHOLE).images
    model, _, report = apply(found.model, None, open_weights(tmp_path / "fast.safetensors"))
    assert model is not None and report.model == len(tensors) // 3
    numbers = iter(drawn)
    levels = [float(((1 - scheduler.alphas_cumprod[t]) / scheduler.alphas_cumprod[t]) ** 0.5) for t in scheduler.timesteps]
    end = 0.0 if name == "lcm" else model.noise.sigma_min
    options = {"eta": 0.3} if name == "tcd" else {}
    model = model.with_noise(DistilledNoise.of(model.noise)) if name == "lcm" else model  # boundary conditions of the scheduler
    got = sample(
        CfgGuider(model, texts(found)[0], texts(found)[1], 1.0), noise, torch.zeros_like(noise), solver(name, **options),
        torch.tensor([*levels, end]), pool=Pool("cpu"), source=GivenNoise(lambda *where: next(numbers, torch.zeros(()))),
    )  # fmt: skip
    assert gap(model.family.latent.process_in(got) / (1 + end**2) ** 0.5, want) < CLOSE  # TCD stops at the lowest level


def xs_for(family: str, path: Path, mix: float = 0.9) -> tuple[Any, Any]:
    """A ControlNet-XS beside the twin's UNet, as diffusers runs both, saved in its layout."""
    torch.manual_seed(0)
    config = {**(kinds.SDXL if family == "sdxl" else kinds.SD1), "layers_per_block": 2, "sample_size": 8}
    unet = diffusers.UNet2DConditionModel(**config).eval()
    options = {"block_out_channels": (8, 16), "num_attention_heads": (2, 4), "conditioning_embedding_out_channels": (16, 32)}
    net = seeded(lambda: diffusers.ControlNetXSAdapter.from_unet(unet, **options, learn_time_embedding=True, time_embedding_mix=mix))
    net.save_pretrained(path)
    return unet, net


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_controlnet_xs(family: str, tmp_path: Path) -> None:
    like, noise = kinds.make(family), noise_like()
    unet, net = xs_for(family, tmp_path / "xs")
    twin = Kind(unet, like.vae, like.texts, like.prefixes)
    found, scheduler = loaded(twin, tmp_path), euler()
    options: dict[str, Any] = {"controlnet": net}
    if family == "sdxl":
        pipeline = xl(diffusers.StableDiffusionXLControlNetXSPipeline, twin, scheduler, **options)
    else:
        pipeline = classic(diffusers.StableDiffusionControlNetXSPipeline, twin, scheduler, **options)
    for name, module in pipeline.unet.named_modules():  # diffusers builds the fused net anew with another epsilon than the UNet has
        if name.endswith(("norm1", "norm2")) and "resnets." in name and "ctrl_" not in name:
            module.eps = 1e-5
    shared = {**prompt(found, family == "sdxl"), **(SQUARE if family == "sdxl" else {}), "guidance_scale": CFG, **WHOLE}
    want = pipeline(
        **shared, image=picture(1), latents=started(noise, scheduler), controlnet_conditioning_scale=0.7, control_guidance_end=0.5
    ).images
    control = load_control(tmp_path / "xs", tiny.services(tmp_path)).applied(picture(1).movedim(1, -1), 0.7, 0.0, 0.49)
    conds = [with_(c, **TOLD) for c in texts(found)]
    got = ours(found.model, *steered(conds, control), noise)
    assert gap(got, want) < CLOSE < gap(ours(found.model, *conds, noise), want)


def test_controlnet_xs_of_another_family_or_without_its_configuration(tmp_path: Path) -> None:
    xs_for("sdxl", tmp_path / "xs")
    control = load_control(tmp_path / "xs", tiny.services(tmp_path))
    model = loaded(kinds.make("sd1"), tmp_path).model
    assert model is not None
    with pytest.raises(BadInput, match=r"The ControlNet-XS .* is for .*, the model is Stable Diffusion 1"):
        control.source.loadable(model)
    (tmp_path / "xs" / "config.json").unlink()
    with pytest.raises(BadInput, match=r"stands in its config\.json, which is not beside it"):
        load_control(tmp_path / "xs", tiny.services(tmp_path))
