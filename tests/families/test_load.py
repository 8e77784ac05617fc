"""Checkpoints, folders and foreign files through the real loader."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from backend.base.config import parse
from backend.base.errors import BadFile, MissingFile, UnknownModel
from backend.diffusion.handle import ModelHandle
from backend.diffusion.patches.compiled import Compile
from backend.families.load import load_checkpoint, load_diffusers_folder, load_diffusion_model, load_text_encoder, load_vae
from backend.families.sd.unet import UNetSizes
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from tests.families import tiny


def run(model: ModelHandle, pool: Pool, seed: int = 3) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(2, model.sizes.in_channels, 8, 8, generator=g)
    cond = {"cross_attn": torch.randn(2, 5, model.sizes.context, generator=g)}
    with torch.inference_mode(), pool.lease(model.leasable()) as net:
        return model.family.forward(net, x, torch.tensor([17.0, 801.0]), model.family.inputs([cond], model.sizes, x.shape))


def test_single_file(tmp_path: Path) -> None:
    twins = tiny.make()
    loaded = load_checkpoint(twins.single(tmp_path / "m.safetensors"), tiny.services(tmp_path))
    assert loaded.model is not None and loaded.clip is not None and loaded.vae is not None
    assert loaded.unmatched == ()
    assert loaded.model.family.name == "Stable Diffusion 1"
    assert loaded.model.sizes == UNetSizes(
        channels=(32, 64), res_blocks=(1, 1), depth_in=(1, 0), depth_middle=1, depth_out=(0, 0, 1, 1), context=64, heads=8
    )
    assert loaded.model.noise.prediction.name == "eps"
    assert loaded.vae.sizes.factor == 2


def test_models_are_compiled_where_the_flag_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    services = tiny.services(tmp_path)
    services.settings = parse(["--compile"])
    loaded = load_checkpoint(tiny.make().single(tmp_path / "m.safetensors"), services)
    assert loaded.model is not None and [type(tap) for tap in loaded.model.taps["net"]] == [Compile]
    assert os.environ.pop("TORCHINDUCTOR_CACHE_DIR") == str(services.folders.user / "compiled")


def test_every_layout_gives_the_same_answer(tmp_path: Path) -> None:
    twins, pool, services = tiny.make(), Pool(), tiny.services(tmp_path)
    single = twins.single(tmp_path / "m.safetensors")
    torch.save({"state_dict": twins.single_state(), "epoch": 3}, tmp_path / "m.ckpt")
    folder = twins.folder(tmp_path / "folder")
    models = [
        load_checkpoint(single, services).model,
        load_checkpoint(tmp_path / "m.ckpt", services).model,
        load_checkpoint(folder, services).model,
        load_diffusion_model(single, services),
        load_diffusion_model(folder / "unet" / "diffusion_pytorch_model.safetensors", services),
        load_diffusion_model(folder / "unet", services),
    ]
    outs = [run(model, pool) for model in models if model is not None]
    assert len(outs) == len(models)
    for out in outs[1:]:
        assert torch.equal(out, outs[0])
    g = torch.Generator().manual_seed(3)
    x, context = torch.randn(2, 4, 8, 8, generator=g), torch.randn(2, 5, 64, generator=g)
    with torch.no_grad():
        assert (twins.unet(x, torch.tensor([17.0, 801.0]), context).sample - outs[0]).abs().max() < 1e-5

    z = torch.randn(1, 4, 8, 8, generator=g)
    vaes = [load_vae(p, services) for p in (single, folder / "vae", folder / "vae" / "diffusion_pytorch_model.safetensors")]
    images = [vae.decode(z, pool) for vae in vaes]
    assert all(torch.equal(image, images[0]) for image in images)

    clips = [load_text_encoder(p, services) for p in (single, folder / "text_encoder")]
    assert clips[0].sizes == clips[1].sizes


def test_sharded_folder(tmp_path: Path) -> None:
    twins, services = tiny.make(), tiny.services(tmp_path)
    twins.unet.save_pretrained(tmp_path / "whole")
    twins.unet.save_pretrained(tmp_path / "shards", max_shard_size="300KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    pool = Pool()
    shards, whole = (load_diffusion_model(tmp_path / name, services) for name in ("shards", "whole"))
    assert torch.equal(run(shards, pool), run(whole, pool))


@pytest.mark.parametrize(("said", "expected"), [("v", "v"), ("epsilon", "eps")])
def test_prediction_from_metadata(tmp_path: Path, said: str, expected: str) -> None:
    facts = {"modelspec.prediction_type": said}
    model = load_diffusion_model(tiny.make().single(tmp_path / "m.safetensors", metadata=facts), tiny.services(tmp_path))
    assert model.noise.prediction.name == expected


def test_prediction_from_folder(tmp_path: Path) -> None:
    folder = tiny.make().folder(tmp_path / "m")
    (folder / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "v_prediction", "rescale_betas_zero_snr": true}')
    model = load_diffusers_folder(folder, tiny.services(tmp_path)).model
    assert model is not None
    assert model.noise.prediction.name == "v"
    assert model.noise.sigma_max > 1000


def test_inpainting_net_gets_mask_and_image(tmp_path: Path) -> None:
    model = load_diffusion_model(tiny.make(in_channels=9).single(tmp_path / "m.safetensors"), tiny.services(tmp_path))
    assert model.sizes.in_channels == 9
    text = torch.randn(1, 5, 64)
    made = model.family.inputs([{"cross_attn": text}], model.sizes, (2, 4, 6, 8))
    assert made["concat"].shape == (1, 5, 6, 8)
    assert bool((made["concat"][:, 0] == 1).all())
    image, mask = torch.randn(1, 4, 6, 8), torch.zeros(1, 48, 64)
    mask[:, :24] = 1
    made = model.family.inputs([{"cross_attn": text, "concat_latent_image": image, "concat_mask": mask}], model.sizes, (2, 4, 6, 8))
    assert torch.allclose(made["concat"][:, 1:], image * 0.18215)
    assert made["concat"][0, 0, 0].tolist() == [1.0] * 8 and made["concat"][0, 0, 5].tolist() == [0.0] * 8
    x = torch.randn(1, 4, 6, 8)
    with torch.inference_mode(), Pool().lease(model.leasable()) as net:
        assert model.family.forward(net, x, torch.tensor([5.0]), made).shape == x.shape


def test_text_of_another_model_is_refused(tmp_path: Path) -> None:
    from backend.base.errors import BadInput

    model = load_diffusion_model(tiny.make().single(tmp_path / "m.safetensors"), tiny.services(tmp_path))
    with pytest.raises(BadInput, match=r"1024 wide.*takes 64"):
        model.family.inputs([{"cross_attn": torch.randn(1, 5, 1024)}], model.sizes, (1, 4, 8, 8))


def header_only(tmp_path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    path = tmp_path / "foreign.safetensors"
    save_safetensors(path, {key: torch.zeros(shape, dtype=torch.uint8) for key, shape in shapes.items()})
    return path


UNET = {f"model.diffusion_model.{k}": (4,) for k in ("time_embed.0.weight", "output_blocks.0.0.in_layers.0.weight", "out.2.weight")}
FOREIGN = {
    "a Kolors model": {
        **UNET,
        "model.diffusion_model.input_blocks.0.0.weight": (32, 4, 3, 3),
        "model.diffusion_model.label_emb.0.0.weight": (8, 4),
        "model.diffusion_model.encoder_hid_proj.weight": (64, 4096),
        "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
    },
    "an SD 3 model": {"model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight": (3, 3)},
    "a Flux model": {"double_blocks.0.img_attn.norm.key_norm.scale": (3,)},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_families_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownModel, match=f"{name} of no kind that is known here: the family is not installed"):
        load_checkpoint(header_only(tmp_path, FOREIGN[name]), tiny.services(tmp_path))


def test_other_kinds_of_file_are_named(tmp_path: Path) -> None:
    services = tiny.services(tmp_path)
    with pytest.raises(UnknownModel, match="is a LoRA, not a diffusion model"):
        load_checkpoint(header_only(tmp_path, {"lora_unet_x.lora_up.weight": (3, 3)}), services)
    with pytest.raises(UnknownModel, match="is a VAE, not a diffusion model"):
        load_checkpoint(header_only(tmp_path, {"decoder.conv_in.weight": (8, 4, 3, 3)}), services)
    with pytest.raises(UnknownModel, match="2 tensors are named a, b"):
        load_checkpoint(header_only(tmp_path, {"a": (1,), "b": (2,)}), services)
    with pytest.raises(UnknownModel, match="is a LoRA, not a VAE"):
        load_vae(header_only(tmp_path, {"x.lora_A.weight": (3, 3)}), services)


def test_incomplete_and_contradictory_checkpoints(tmp_path: Path) -> None:
    services = tiny.services(tmp_path)
    state = tiny.make().single_state()
    victim = "model.diffusion_model.middle_block.1.norm.weight"
    save_safetensors(tmp_path / "less.safetensors", {k: v for k, v in state.items() if k != victim})
    with pytest.raises(BadFile, match=r"middle_block\.1\.norm\.weight is missing"):
        load_checkpoint(tmp_path / "less.safetensors", services)
    save_safetensors(tmp_path / "odd.safetensors", {**state, victim: torch.zeros(7)})
    with pytest.raises(BadFile, match="contradict"):
        load_checkpoint(tmp_path / "odd.safetensors", services)
    victim = "first_stage_model.decoder.mid.block_1.norm1.bias"
    save_safetensors(tmp_path / "vae.safetensors", {k: v for k, v in state.items() if k != victim})
    with pytest.raises(BadFile, match=r"VAE without the weight decoder\.mid\.block_1\.norm1\.bias"):
        load_checkpoint(tmp_path / "vae.safetensors", services)
    with pytest.raises(MissingFile):
        load_checkpoint(tmp_path / "none.safetensors", services)


def test_unused_keys_are_reported(tmp_path: Path) -> None:
    state = {**tiny.make().single_state(), "surprise.weight": torch.zeros(2), "model_ema.decay": torch.zeros(1)}
    save_safetensors(tmp_path / "m.safetensors", state)
    loaded = load_checkpoint(tmp_path / "m.safetensors", tiny.services(tmp_path))
    assert loaded.unmatched == ("surprise.weight",)
    assert "surprise.weight" in loaded.sentence()
