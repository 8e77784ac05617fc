"""Nets and conversions that packs borrow under published names compute what the application's own do."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from backend.codecs.wan.net import WanAutoencoder, WanSizes
from backend.families.flux import blocks
from backend.families.load import load_checkpoint
from backend.families.sd.names import to_diffusers
from backend.nn.layers import init_weights
from backend.nn.rope import turn
from tests.packs.home import Home


@pytest.fixture
def comfy(home: Home) -> Any:
    """`comfy("sd")` imports `comfy.sd`."""
    home.model()
    home.start()

    def module(name: str) -> ModuleType:
        return importlib.import_module(f"comfy.{name}")

    return module


def of(layers: ModuleType, kind: str, twin: torch.nn.Module, *sizes: Any, **options: Any) -> Any:
    """A layer by its published name with the weights of our own."""
    torch.manual_seed(1)
    for weight in twin.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    made = getattr(layers, kind)(*sizes, **options)
    made.load_state_dict(twin.state_dict())
    assert isinstance(twin, getattr(layers, kind)) and not isinstance(torch.nn.Linear(1, 1), getattr(layers, kind))
    return made


@torch.inference_mode()
def test_flux_s_layers(comfy: Any) -> None:
    layers = comfy("ldm.flux.layers")
    sizes = blocks.BlockSizes(32, 2, 64)
    places = torch.randint(0, 9, (1, 7, 3)).float()
    img, txt, vec = torch.randn(1, 4, 32), torch.randn(1, 3, 32), torch.randn(1, 32)
    pe = layers.EmbedND(16, 10000, [4, 6, 6])(places)
    by = turn(places[:, None], (4, 6, 6), 10000)
    told = torch.nn.functional.silu(vec)

    double = blocks.DoubleBlock(sizes)
    made = of(layers, "DoubleStreamBlock", double, 32, 2, 2.0, qkv_bias=True, dtype=torch.float32)(img, txt, vec=vec, pe=pe)
    for ours, theirs in zip(double(img, txt, (double.img_mod(told), double.txt_mod(told)), by), made, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)

    single = blocks.SingleBlock(sizes)
    x = torch.cat([txt, img], 1)
    made = of(layers, "SingleStreamBlock", single, 32, 2, mlp_ratio=2.0)(x, vec=vec, pe=pe)
    assert torch.allclose(single(x, single.modulation(told), by), made, atol=1e-5)

    embedder = blocks.Embedder(8, 32)
    assert torch.equal(of(layers, "MLPEmbedder", embedder, 8, 32)(torch.ones(1, 8)), embedder(torch.ones(1, 8)))
    assert of(layers, "LastLayer", blocks.FinalLayer(32, 16), 32, 2, 4)(img, vec).shape == (1, 4, 16)


def test_weights_of_folders_under_the_names_of_single_files(comfy: Any, home: Home) -> None:
    model = load_checkpoint(home.bench.folders.find_or_raise("checkpoints", "tiny.safetensors"), home.bench.services).model
    assert model is not None
    source = dict(model.loadable.source)
    folder = {key: source[name] for name, key in to_diffusers(model.sizes, source).items()}
    assert len(folder) == len(source) and folder.keys() != source.keys()
    back = comfy("diffusers_convert").convert_unet_state_dict(folder)
    assert back.keys() == source.keys() and all(torch.equal(back[k], source[k]) for k in source)
    known = comfy("model_base").unet_config(model)
    found = comfy("model_detection").unet_config_from_diffusers_unet(folder, torch.float32)
    assert {**known, "dtype": 0} == {**found, "dtype": 0} and comfy("model_detection").unet_config_from_diffusers_unet({}) is None
    layer = "text_model.encoder.layers.0.self_attn"
    text = {f"{layer}.{p}_proj.weight": torch.full((2, 2), float(i)) for i, p in enumerate("qkv")}
    joined = comfy("diffusers_convert").convert_text_enc_state_dict_v20(text, "model.")
    assert joined["model.transformer.resblocks.0.attn.in_proj_weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_autoencoders_of_weights_in_memory(comfy: Any) -> None:
    sizes = WanSizes(8, (1, 2, 2, 2), 1, 4)
    net = WanAutoencoder(sizes)
    init_weights(net)
    vae = comfy("sd").VAE(sd=net.state_dict())
    assert not vae.not_video and vae.latent_dim == 3 and vae.temporal_compression_decode() == 4
    assert vae.encode(torch.rand(1, 32, 32, 3)).ndim == 5


def test_the_tiny_autoencoder(comfy: Any, tmp_path: Path) -> None:
    taesd = comfy("taesd.taesd").TAESD(None, None, latent_channels=4)
    for weight in taesd.parameters():
        torch.nn.init.normal_(weight, std=0.05) if weight.ndim > 1 else torch.nn.init.ones_(weight)
    for half in ("encoder", "decoder"):
        comfy("utils").save_torch_file(getattr(taesd, f"taesd_{half}").state_dict(), str(tmp_path / f"{half}.safetensors"))
    again = comfy("taesd.taesd").TAESD(str(tmp_path / "encoder.safetensors"), str(tmp_path / "decoder.safetensors"))
    with torch.inference_mode():
        latent = again.encode(torch.rand(1, 3, 16, 16) * 2 - 1)
        assert latent.shape == (1, 4, 2, 2) and again.decode(latent).shape == (1, 3, 16, 16)
        shown = importlib.import_module("latent_preview").TAESDPreviewerImpl(again).decode_latent_to_preview(latent)
    assert shown.size == (16, 16)


def test_small_functions(comfy: Any) -> None:
    assert comfy("ldm.common_dit").pad_to_patch_size(torch.zeros(1, 1, 3, 5), (2, 2)).shape == (1, 1, 4, 6)
    assert torch.allclose(comfy("rmsnorm").rms_norm(torch.full((1, 4), 3.0)), torch.ones(1, 4))
    camera = importlib.import_module("comfy_extras.nodes_stable3d").camera_embeddings(0.0, 90.0)
    assert camera.shape == (1, 1, 4) and camera[0, 0, 1] == 1
