"""ControlNets and T2I-Adapters through file, loader and sampling loop, against diffusers with the same weights and noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter
from torch import Tensor, nn

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.control.control import Control
from backend.control.load import load_control
from backend.control.residuals import merged
from backend.control.t2i import spec as t2i
from backend.control.unet import names
from backend.diffusion.handle import ModelHandle
from backend.diffusion.ksample import ksample
from backend.diffusion.sample import prepare_noise
from backend.families.load import load_checkpoint
from backend.families.sd import SD1_FAMILY
from backend.families.sd.unet import UNet, UNetSizes
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import init_weights
from backend.weights.save import save_safetensors
from tests.families.tiny import Twins, make, services

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS, SEED, CFG = 5, 7, 2.0
TINY: dict[str, Any] = {
    "block_out_channels": (32, 64), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "layers_per_block": 1,
    "cross_attention_dim": 64, "attention_head_dim": 8, "conditioning_embedding_out_channels": (16, 32),
}  # fmt: skip
TINY_XL: dict[str, Any] = {
    "block_out_channels": (64, 128), "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "layers_per_block": 1,
    "cross_attention_dim": 48, "attention_head_dim": (1, 2), "transformer_layers_per_block": (1, 2), "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 16 + 6 * 8,
    "conditioning_embedding_out_channels": (16, 32),
}  # fmt: skip


def seeded(make_it: Any, seed: int = 3) -> Any:
    """A net whose layers that start at zero do not."""
    torch.manual_seed(seed)
    net = make_it().eval()
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return net


def single(net: nn.Module, path: Path, prefix: str = "control_model.") -> Path:
    """The net under the published single-file names."""
    state = net.state_dict()
    save_safetensors(path, {prefix + name: state[key].contiguous() for name, key in names.from_diffusers(state).items()})
    return path


def folder(net: Any, path: Path) -> Path:
    net.save_pretrained(path)
    return path


def residuals(control: Control, model: ModelHandle, picture: Tensor, x: Tensor, t: Tensor, inputs: dict[str, Tensor]) -> dict[str, Any]:
    """One run of the net at timesteps t, through the pool."""
    with Pool("cpu").lease(control.source.loadable(model)) as net, torch.inference_mode():
        return net(x, t, inputs["context"], net.hint(picture, control.types), inputs.get("y"), control.types)  # type: ignore[no-any-return]


def xl_model() -> ModelHandle:
    sizes = UNetSizes(
        channels=(64, 128), res_blocks=(1, 1), depth_in=(0, 2), depth_middle=2, depth_out=(2, 2, 0, 0), context=48, heads=None,
        head_dim=64, linear=True, adm=64,
    )  # fmt: skip
    torch.manual_seed(5)
    state = init_weights(UNet(sizes)).state_dict()
    return ModelHandle(Loadable("xl", lambda: UNet(sizes), state), SD1_FAMILY, sizes, SD1_FAMILY.noise({}))


def close(ours: dict[str, Any], theirs: Any, bound: float = 1e-5) -> None:
    for a, b in zip([*ours["output"], *ours["middle"]], [*theirs[0], theirs[1]], strict=True):
        assert (a - b).abs().max() < bound


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Twins, ModelHandle]:
    twins = make()
    model = load_checkpoint(twins.single(tmp_path / "tiny.safetensors"), services(tmp_path)).model
    assert model is not None
    return twins, model


def pickled(net: nn.Module, path: Path) -> Path:
    """As the first ones were published: a `.pth` with a state dict inside."""
    state = net.state_dict()
    named = {f"control_model.{name}": state[key] for name, key in names.from_diffusers(state).items()}
    torch.save({"state_dict": named, "global_step": 3}, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


@pytest.mark.parametrize("write", [single, lambda n, p: single(n, p, ""), folder, pickled], ids=["single", "bare", "diffusers", "pth"])
def test_net_of_sd1(write: Any, tmp_path: Path, tiny: tuple[Twins, ModelHandle]) -> None:
    net = seeded(lambda: ControlNetModel(**TINY))
    control = load_control(write(net, tmp_path / "net.safetensors"), services(tmp_path))
    x, t, text, picture = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 700.0]), torch.randn(2, 7, 64), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = net(x, t, text, picture, return_dict=False)
    close(residuals(control, tiny[1], picture, x, t, {"context": text}), expected)


@pytest.mark.parametrize("write", [single, folder], ids=["single", "diffusers"])
def test_net_of_sdxl(write: Any, tmp_path: Path) -> None:
    net = seeded(lambda: ControlNetModel(**TINY_XL))
    control = load_control(write(net, tmp_path / "net.safetensors"), services(tmp_path))
    x, t, text, picture = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 700.0]), torch.randn(2, 7, 48), torch.rand(2, 3, 16, 16)
    pooled, ids = torch.randn(2, 16), torch.rand(2, 6) * 100
    with torch.no_grad():
        expected = net(x, t, text, picture, added_cond_kwargs={"text_embeds": pooled, "time_ids": ids}, return_dict=False)
        y = torch.cat([pooled, net.add_time_proj(ids.flatten()).reshape(2, -1)], 1)
    close(residuals(control, xl_model(), picture, x, t, {"context": text, "y": y}), expected)


def test_union_net(tmp_path: Path) -> None:
    options = {**TINY_XL, "num_control_type": 6, "num_trans_channel": 64, "num_proj_channel": 64}
    net = seeded(lambda: ControlNetUnionModel(**options))
    control = load_control(folder(net, tmp_path / "union"), services(tmp_path))
    x, t, text, picture = torch.randn(1, 4, 8, 8), torch.tensor([700.0]), torch.randn(1, 7, 48), torch.rand(1, 3, 16, 16)
    pooled, ids = torch.randn(1, 16), torch.rand(1, 6) * 100
    kinds = torch.zeros(1, 6)
    kinds[:, 3] = 1
    with torch.no_grad():
        added = {"text_embeds": pooled, "time_ids": ids}
        expected = net(x, t, text, [picture], kinds, [3], added_cond_kwargs=added, return_dict=False)
        y = torch.cat([pooled, net.add_time_proj(ids.flatten()).reshape(1, -1)], 1)
    close(residuals(replace(control, types=(3,)), xl_model(), picture, x, t, {"context": text, "y": y}), expected)


def test_low_rank_net_is_the_model_with_factors(tmp_path: Path) -> None:
    model = xl_model()
    net = seeded(lambda: ControlNetModel(**TINY_XL))
    state = {name: net.state_dict()[key] for name, key in names.from_diffusers(net.state_dict()).items()}
    made: dict[str, Tensor] = {"lora_controlnet": torch.zeros(1)}
    base = model.loadable.source
    for name, value in state.items():
        if not name.endswith(".weight") or name not in base or value.dim() < 2:
            made[name] = value
            continue
        u, s, v = torch.linalg.svd((value - base[name]).flatten(1), full_matrices=False)
        made[name.replace(".weight", ".up")] = u * s
        made[name.replace(".weight", ".down")] = v.reshape(-1, *value.shape[1:])
    save_safetensors(tmp_path / "lora.safetensors", {key: value.contiguous() for key, value in made.items()})
    control = load_control(tmp_path / "lora.safetensors", services(tmp_path))
    whole = load_control(single(net, tmp_path / "whole.safetensors"), services(tmp_path))
    x, t, text, picture = torch.randn(1, 4, 8, 8), torch.tensor([30.0]), torch.randn(1, 7, 48), torch.rand(1, 3, 16, 16)
    inputs = {"context": text, "y": torch.randn(1, 64)}
    ours, theirs = (residuals(c, model, picture, x, t, inputs) for c in (control, whole))
    close(ours, (theirs["output"], theirs["middle"][0]), 1e-4)


def test_difference_to_a_model(tmp_path: Path, tiny: tuple[Twins, ModelHandle]) -> None:
    model = tiny[1]
    net = seeded(lambda: ControlNetModel(**TINY))
    state = {name: net.state_dict()[key] for name, key in names.from_diffusers(net.state_dict()).items()}
    made = {name: value - model.loadable.source[name] if name in model.loadable.source else value for name, value in state.items()}
    save_safetensors(tmp_path / "diff.safetensors", {"difference": torch.zeros(1), **{k: v.contiguous() for k, v in made.items()}})
    with pytest.raises(BadInput, match="difference"):
        load_control(tmp_path / "diff.safetensors", services(tmp_path))
    control = load_control(tmp_path / "diff.safetensors", services(tmp_path), model)
    x, t, text, picture = torch.randn(1, 4, 8, 8), torch.tensor([30.0]), torch.randn(1, 7, 64), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = net(x, t, text, picture, return_dict=False)
    close(residuals(control, model, picture, x, t, {"context": text}), expected)


@pytest.mark.parametrize("case", ["one", "guess", "two"])
def test_whole_latent(case: str, tmp_path: Path, tiny: tuple[Twins, ModelHandle]) -> None:
    twins, model = tiny
    nets = [seeded(lambda: ControlNetModel(**TINY), seed) for seed in ((3, 4) if case == "two" else (3,))]
    scales = [0.8, 0.5][: len(nets)]
    generator = torch.Generator().manual_seed(1)
    positive, negative = (torch.randn(1, 77, 64, generator=generator) for _ in range(2))
    pictures = [torch.rand(1, 3, 16, 16, generator=generator) for _ in nets]
    scheduler = diffusers.EulerDiscreteScheduler(**SD, timestep_spacing="trailing")
    chosen = diffusers.MultiControlNetModel(nets) if len(nets) > 1 else nets[0]
    pipeline = diffusers.StableDiffusionControlNetPipeline(
        twins.vae, twins.text, None, twins.unet, chosen, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler.set_timesteps(STEPS)
    init = float(pipeline.scheduler.init_noise_sigma)
    noise = prepare_noise(torch.zeros(2, 4, 8, 8), SEED)
    expected = pipeline(
        prompt_embeds=positive.repeat(2, 1, 1), negative_prompt_embeds=negative.repeat(2, 1, 1),
        image=pictures if len(nets) > 1 else pictures[0],
        latents=noise * (1 + init**2) ** 0.5 / init, guidance_scale=CFG, num_inference_steps=STEPS, output_type="latent", width=16,
        height=16, controlnet_conditioning_scale=scales if len(nets) > 1 else scales[0], guess_mode=case == "guess",
    ).images  # fmt: skip

    control: Any = None
    for i, (net, picture, scale) in enumerate(zip(nets, pictures, scales, strict=True)):
        loaded = load_control(single(net, tmp_path / f"net{i}.safetensors"), services(tmp_path))
        control = loaded.applied(picture.movedim(1, -1), scale).after(control)
    options = {"control": replace(control, guess=case == "guess")}
    latent = {"samples": torch.zeros(2, 4, 8, 8)}
    got = ksample(model, SEED, STEPS, CFG, "euler", "simple", [[positive, options]], [[negative, options]], latent, pool=Pool("cpu"))
    assert (model.family.latent.process_in(got["samples"]) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("layout", ["diffusers", "single"])
def test_t2i_adapter(layout: str, tmp_path: Path, tiny: tuple[Twins, ModelHandle]) -> None:
    twins, model = tiny
    net = seeded(lambda: T2IAdapter(in_channels=3, channels=[32, 64], num_res_blocks=2, downscale_factor=8, adapter_type="full_adapter"))
    state = net.state_dict()
    mapped = t2i.from_diffusers(state).items() if layout == "single" else ((key, key) for key in state)
    save_safetensors(tmp_path / "t2i.safetensors", {name: state[key].contiguous() for name, key in mapped})
    control = load_control(tmp_path / "t2i.safetensors", services(tmp_path))
    x, t, text, picture = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 700.0]), torch.randn(2, 7, 64), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        maps = net(picture)
        expected = twins.unet(x, t, text, down_intrablock_additional_residuals=[m * 0.7 for m in maps], return_dict=False)[0]
    with control.applied(picture.movedim(1, -1), 0.7).bind(model, Pool("cpu")) as running, torch.inference_mode():
        made = running.get_control(x, torch.tensor([1.0, 1.0]), {}, 1, {"cond_or_uncond": [0]})
        with Pool("cpu").lease(model.loadable) as unet:
            got = unet(x, t, text, control=made)
    assert (got - expected).abs().max() < 1e-5


@pytest.mark.parametrize("layout", ["diffusers", "single"])
def test_light_adapter(layout: str, tmp_path: Path) -> None:
    sizes = UNetSizes(channels=(32, 32), res_blocks=(1, 1), depth_in=(1, 0), depth_out=(0,) * 4, context=64)
    model = ModelHandle(Loadable("light", lambda: UNet(sizes), {}), SD1_FAMILY, sizes, SD1_FAMILY.noise({}))
    net = seeded(lambda: T2IAdapter(in_channels=3, channels=[32], num_res_blocks=4, downscale_factor=8, adapter_type="light_adapter"))
    state = net.state_dict()
    mapped = t2i.from_diffusers(state).items() if layout == "single" else ((key, key) for key in state)
    save_safetensors(tmp_path / "t2i.safetensors", {name: state[key].contiguous() for name, key in mapped})
    control = load_control(tmp_path / "t2i.safetensors", services(tmp_path))
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        maps = net(picture)
    with control.applied(picture.movedim(1, -1), 1.0).bind(model, Pool("cpu")) as running, torch.inference_mode():
        made = running.get_control(torch.randn(1, 4, 8, 8), torch.ones(1), {}, 1, {"cond_or_uncond": [0]})
    assert made is not None
    for ours, theirs in zip([r for r in made["input"][::-1] if r is not None], maps, strict=True):
        assert (ours - theirs).abs().max() < 1e-5


def test_full_adapter_of_sdxl(tmp_path: Path) -> None:
    """Three levels as in SDXL; the last map belongs to the middle."""
    sizes = UNetSizes(
        channels=(32, 64, 128), res_blocks=(2, 2, 2), depth_in=(0, 0, 1, 1, 1, 1), depth_middle=1, depth_out=(1,) * 6 + (0,) * 3,
        context=48,
        heads=None, head_dim=64, linear=True, adm=64,
    )  # fmt: skip
    model = ModelHandle(Loadable("xl", lambda: UNet(sizes), {}), SD1_FAMILY, sizes, SD1_FAMILY.noise({}))
    options = {"in_channels": 3, "channels": [32, 64, 128, 128], "num_res_blocks": 2, "downscale_factor": 16}
    net = seeded(lambda: T2IAdapter(**options, adapter_type="full_adapter_xl"))
    save_safetensors(tmp_path / "t2i.safetensors", {key: value.contiguous() for key, value in net.state_dict().items()})
    control = load_control(tmp_path / "t2i.safetensors", services(tmp_path))
    picture = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        maps = net(picture)
    with control.applied(picture.movedim(1, -1), 1.0).bind(model, Pool("cpu")) as running, torch.inference_mode():
        made = running.get_control(torch.randn(2, 4, 16, 16), torch.tensor([1.0, 1.0]), {}, 1, {"cond_or_uncond": [0]})
    assert made is not None
    placed = {i: r for i, r in enumerate(made["input"][::-1]) if r is not None}
    assert list(placed) == [3, 5, 8]
    for ours, theirs in zip([*placed.values(), *made["middle"]], maps, strict=True):
        assert ours is not None and (ours - theirs).abs().max() < 1e-5


def test_a_window_of_steps(tmp_path: Path, tiny: tuple[Twins, ModelHandle]) -> None:
    model = tiny[1]
    net = seeded(lambda: ControlNetModel(**TINY))
    loaded = load_control(single(net, tmp_path / "net.safetensors"), services(tmp_path))
    control = loaded.applied(torch.rand(1, 16, 16, 3), 1.0, 0.0, 0.5)
    half = model.noise.percent_to_sigma(0.5)
    told, text = {"cond_or_uncond": [0]}, {"context": torch.randn(1, 7, 64)}
    x = torch.randn(1, 4, 8, 8)
    with control.bind(model, Pool("cpu")) as running, torch.inference_mode():
        assert running.get_control(x, torch.tensor([half + 0.1]), text, 1, told) is not None
        assert running.get_control(x, torch.tensor([half - 0.1]), text, 1, told) is None


def test_two_controls_add_up_from_the_end() -> None:
    one, two = torch.ones(1), torch.full((1,), 2.0)
    got = merged({"input": [one, None]}, {"input": [two], "middle": [two]})
    assert got == {"input": [one, two], "middle": [two]}


def test_a_net_of_another_family_is_named(tmp_path: Path, tiny: tuple[Twins, ModelHandle]) -> None:
    control = load_control(single(seeded(lambda: ControlNetModel(**TINY_XL)), tmp_path / "xl.safetensors"), services(tmp_path))
    with pytest.raises(BadInput, match=r"xl\.safetensors is for .* 48 wide, the model is Stable Diffusion 1"):
        control.source.loadable(tiny[1])
    grey = load_control(single(seeded(lambda: ControlNetModel(**TINY)), tmp_path / "sd.safetensors"), services(tmp_path))
    applied = grey.applied(torch.rand(1, 16, 16, 1), 1.0)
    with pytest.raises(BadInput, match=r"1 channel, the ControlNet .* takes 3"), applied.bind(tiny[1], Pool("cpu")):
        pass


def test_damaged_and_other_files(tmp_path: Path, tiny: tuple[Twins, ModelHandle]) -> None:
    net = seeded(lambda: ControlNetModel(**TINY))
    state = {k: net.state_dict()[v].contiguous() for k, v in names.from_diffusers(net.state_dict()).items()}
    del state["middle_block_out.0.weight"]
    save_safetensors(tmp_path / "part.safetensors", state)
    with pytest.raises(BadFile, match=r"middle_block_out\.0\.weight is missing"):
        load_control(tmp_path / "part.safetensors", services(tmp_path))
    save_safetensors(tmp_path / "lora.safetensors", {"lora_unet_x.lora_up.weight": torch.zeros(2, 2)})
    with pytest.raises(UnknownModel, match="a LoRA, not a control net"):
        load_control(tmp_path / "lora.safetensors", services(tmp_path))
