from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.base.errors import BadFile, BadInput, MissingFile, NotInstalled, UnknownModel
from backend.engine.context import Blocker
from backend.families.configs import read_config
from backend.weights.save import save_safetensors
from nodes import image_only, loaders
from tests.families import kinds, tiny
from tests.nodes.bench import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("loaders"))
    for kind in ("checkpoints", "vae", "loras", "text_encoders", "diffusion_models", "diffusers", "configs"):
        (bench.folders.models / kind).mkdir(parents=True)
    models, state = bench.folders.models, tiny.make().single_state()
    save_safetensors(models / "checkpoints" / "tiny.safetensors", state)
    parts = {
        "vae/v": "first_stage_model.",
        "diffusion_models/u": "model.diffusion_model.",
        "text_encoders/t": "cond_stage_model.transformer.",
    }
    for name, prefix in parts.items():
        alone = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        save_safetensors(models / f"{name}.safetensors", alone)
    tiny.make().folder(models / "diffusers" / "folder")
    rows = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": 32,
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj": 64,
    }
    lora = {}
    for name, width in rows.items():
        lora |= {
            f"{name}.lora_up.weight": torch.randn(width, 2),
            f"{name}.lora_down.weight": torch.randn(2, width),
            f"{name}.alpha": torch.tensor(2.0),
        }
    save_safetensors(models / "loras" / "l.safetensors", lora)
    return bench


def test_checkpoint(bench: Bench) -> None:
    found = loaders.checkpoint_loader_simple(bench.context(), ckpt_name="tiny.safetensors")
    assert found.MODEL.family.name == "Stable Diffusion 1" and found.CLIP.sizes.width == 64 and found.VAE.channels == 4
    assert any("tiny.safetensors" in text for text in bench.texts())


def test_parts_that_a_checkpoint_lacks_block_with_a_sentence(bench: Bench) -> None:
    state = {k: v for k, v in tiny.make().single_state().items() if k.startswith("model.")}
    save_safetensors(bench.folders.models / "checkpoints" / "bare.safetensors", state)
    found = loaders.checkpoint_loader_simple(bench.context(), ckpt_name="bare.safetensors")
    assert not isinstance(found.MODEL, Blocker)
    for part, what in ((found.CLIP, "text encoder"), (found.VAE, "VAE")):
        assert isinstance(part, Blocker) and part.message is not None and what in part.message and "bare.safetensors" in part.message


def test_image_only_checkpoints_come_back(bench: Bench) -> None:
    kinds.make("unclip").single(bench.folders.models / "checkpoints" / "unclip.safetensors")
    ctx = bench.context()
    first = image_only.image_only_checkpoint_loader(ctx, ckpt_name="unclip.safetensors")
    image_only.image_only_checkpoint_save(ctx, model=first.MODEL, clip_vision=first.CLIP_VISION, vae=first.VAE)
    (saved,) = (bench.folders.output / "checkpoints").glob("*.safetensors")
    shutil.move(saved, bench.folders.models / "checkpoints" / "again.safetensors")
    again = image_only.image_only_checkpoint_loader(ctx, ckpt_name="again.safetensors")
    picture, pool = torch.rand(1, 40, 40, 3), bench.services.pool
    one, two = (found.CLIP_VISION.encode_image(picture, pool) for found in (first, again))
    assert torch.equal(one.penultimate_hidden_states, two.penultimate_hidden_states) and torch.equal(one.image_embeds, two.image_embeds)
    assert again.MODEL.family.name == first.MODEL.family.name


def test_unclip_checkpoint_brings_its_image_encoder(bench: Bench) -> None:
    kinds.make("unclip").single(bench.folders.models / "checkpoints" / "unclip.safetensors")
    found = loaders.unclip_checkpoint_loader(bench.context(), ckpt_name="unclip.safetensors")
    assert found.CLIP_VISION.sizes.projection == 32 and found.MODEL.family.name == "Stable Diffusion 2 unCLIP"
    without = loaders.unclip_checkpoint_loader(bench.context(), ckpt_name="tiny.safetensors")
    assert isinstance(without.CLIP_VISION, Blocker) and "image encoder" in str(without.CLIP_VISION.message)


@pytest.mark.parametrize(
    ("name", "error"), [("none.safetensors", MissingFile), ("broken.safetensors", BadFile), ("other.safetensors", UnknownModel)]
)
def test_checkpoint_errors_name_node_and_input(bench: Bench, name: str, error: type[Any]) -> None:
    checkpoints = bench.folders.models / "checkpoints"
    (checkpoints / "broken.safetensors").write_bytes((checkpoints / "tiny.safetensors").read_bytes()[:5000])
    save_safetensors(checkpoints / "other.safetensors", {"some.weight": torch.ones(3)})
    with pytest.raises(error) as raised:
        loaders.checkpoint_loader_simple(bench.context(), ckpt_name=name)
    assert raised.value.where.node == "7" and raised.value.where.input == "ckpt_name" and name in str(raised.value)


def test_single_parts_equal_those_of_the_checkpoint(bench: Bench) -> None:
    whole, ctx = loaders.checkpoint_loader_simple(bench.context(), ckpt_name="tiny.safetensors"), bench.context()
    model = loaders.unet_loader(ctx, unet_name="u.safetensors", weight_dtype="default")
    clip = loaders.clip_loader(ctx, clip_name="t.safetensors", type="stable_diffusion")
    vae = loaders.vae_loader(ctx, vae_name="v.safetensors")
    folder = loaders.diffusers_loader(ctx, model_path="folder")
    for other in (model, folder.MODEL):
        assert other.sizes == whole.MODEL.sizes
    pool, latent = bench.services.pool, torch.randn(1, 4, 4, 4)
    assert torch.equal(vae.decode(latent, pool), whole.VAE.decode(latent, pool))
    expected = whole.CLIP.conditioning("a (red:1.2) cat", pool)[0][0]
    assert torch.equal(clip.conditioning("a (red:1.2) cat", pool)[0][0], expected)
    assert torch.allclose(folder.CLIP.conditioning("a (red:1.2) cat", pool)[0][0], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"])
def test_weights_in_float8(bench: Bench, name: str) -> None:
    whole = loaders.unet_loader(bench.context(), unet_name="u.safetensors", weight_dtype="default")
    model = loaders.unet_loader(bench.context(), unet_name="u.safetensors", weight_dtype=name)
    assert model.sizes == whole.sizes and model.loadable.key != whole.loadable.key
    dtype = loaders.FLOAT8[name]
    for key, weight in whole.loadable.source.items():
        got = model.loadable.source[key]
        assert torch.equal(got.float(), weight.to(dtype).float() if weight.ndim > 1 else weight)
    key = next(key for key, weight in whole.loadable.source.items() if weight.ndim == 4)
    packed = model.loadable.source.file.packed(key)
    moved = packed.to(torch.device("cpu"))
    assert packed.nbytes == moved.nbytes == whole.loadable.source[key].numel() and packed.multiplied is name.endswith("fast")
    assert torch.equal(moved.dense(), packed.dense()) and torch.equal(moved.dense(), model.loadable.source[key].float())
    with bench.services.pool.lease(model.loadable) as net:
        out = net(torch.randn(1, 4, 4, 4), torch.tensor([10.0]), torch.randn(1, 77, model.sizes.context))
    assert out.isfinite().all()


def test_pixels_without_a_vae(bench: Bench) -> None:
    vae, image = loaders.vae_loader(bench.context(), vae_name="pixel_space"), torch.rand(2, 3, 5, 3)
    latent = vae.encode(image, bench.services.pool)
    assert latent.shape == (2, 3, 3, 5) and torch.allclose(vae.decode(latent, bench.services.pool), image, atol=1e-6)


def test_config_loader(bench: Bench) -> None:
    def load(name: str) -> Any:
        return loaders.checkpoint_loader(bench.context(), config_name=name, ckpt_name="tiny.safetensors")

    assert load("v1-inference.yaml").MODEL.noise.prediction.name == "eps"
    assert load("v2-inference-v.yaml").MODEL.noise.prediction.name == "v"
    assert load("anything_v3.yaml").CLIP.layer == -2
    (bench.folders.models / "configs" / "mine.yaml").write_text(
        "model: {params: {parameterization: v, cond_stage_config: {params: {layer: hidden, layer_idx: -3}}}}"
    )
    assert load("mine.yaml").MODEL.noise.prediction.name == "v" and load("mine.yaml").CLIP.layer == -3
    with pytest.raises(MissingFile) as raised:
        load("none.yaml")
    assert raised.value.where.input == "config_name"


@pytest.mark.parametrize("text", ["a: [", "just text", "model: 3", "model: {params: {cond_stage_config: {params: {layer_idx: x}}}}"])
def test_strange_configs(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(BadFile, match="not a model configuration"):
        read_config(tmp_path / "c.yaml")


def test_layer_index_counted_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: {params: {cond_stage_config: {params: {layer_idx: 11}}}}")
    assert read_config(tmp_path / "c.yaml").clip_layer == -2  # the eleventh of twelve layers


def test_lora(bench: Bench) -> None:
    base = loaders.checkpoint_loader_simple(bench.context(), ckpt_name="tiny.safetensors")

    def patched(model: float, clip: float) -> Any:
        return loaders.lora_loader(
            bench.context(), model=base.MODEL, clip=base.CLIP, lora_name="l.safetensors", strength_model=model, strength_clip=clip
        )

    assert len(patched(0.5, 0.0).MODEL.patches) == 1 and not patched(0.5, 0.0).CLIP.patches
    assert not patched(0.0, 1.0).MODEL.patches and len(patched(0.0, 1.0).CLIP.patches) == 1
    assert patched(0.0, 0.0) == (base.MODEL, base.CLIP)
    alone = loaders.lora_loader_model_only(bench.context(), model=base.MODEL, lora_name="l.safetensors", strength_model=1.0)
    assert len(alone.patches) == 1 and not base.MODEL.patches
    pool = bench.services.pool
    plain, strong = (c.conditioning("cat", pool)[0][0] for c in (base.CLIP, patched(0.0, 1.0).CLIP))
    assert not torch.allclose(plain, strong, atol=1e-4)
    assert torch.equal(base.CLIP.conditioning("cat", pool)[0][0], plain)


def test_lora_that_fits_nothing(bench: Bench) -> None:
    base = loaders.checkpoint_loader_simple(bench.context(), ckpt_name="tiny.safetensors")
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    odd = {f"{name}.lora_up.weight": torch.ones(640, 2), f"{name}.lora_down.weight": torch.ones(2, 2048)}
    save_safetensors(bench.folders.models / "loras" / "xl.safetensors", odd)
    with pytest.raises(BadInput, match="SDXL") as raised:
        loaders.lora_loader_model_only(bench.context(), model=base.MODEL, lora_name="xl.safetensors", strength_model=1.0)
    assert raised.value.where.input == "lora_name"


@pytest.mark.parametrize(
    "run",
    [
        lambda ctx: loaders.clip_loader(ctx, clip_name="t.safetensors", type="mochi"),
        lambda ctx: loaders.dual_clip_loader(ctx, clip_name1="a", clip_name2="b", type="hunyuan_video"),
    ],
)
def test_what_is_not_installed_says_so_and_names_the_node(bench: Bench, run: Any) -> None:
    with pytest.raises(NotInstalled, match="not installed yet") as raised:
        run(bench.context())
    assert raised.value.where.node == "7" and raised.value.hint
