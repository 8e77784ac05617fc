"""Merging and saving: weights as written out by hand, files that load again, nothing copied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.families.load import load_checkpoint, load_text_encoder, load_vae
from backend.memory.pool import Pool
from backend.weights.open import open_weights
from nodes import model_merging as merging
from tests.families import kinds, tiny
from tests.nodes.bench import Bench


@pytest.fixture
def two(tmp_path: Path) -> list[Any]:
    services = tiny.services(tmp_path)
    return [load_checkpoint(tiny.make(seed).single(tmp_path / f"m{seed}.safetensors"), services) for seed in (0, 1)]


def values(model: Any) -> dict[str, Tensor]:
    """The weights a net finds in its slots."""
    found = {}
    with Pool("cpu").lease(model.leasable()) as net:
        for path, layer in net.named_modules():
            for own in getattr(layer, "slots", {}):
                found[f"{path}.{own}"] = layer.get(own, torch.zeros(0)).clone()
    return found


def test_simple_add_and_subtract(two: list[Any], tmp_path: Path) -> None:
    ctx = Bench(tmp_path).context()
    a, b = values(two[0].model), values(two[1].model)
    for made, keep, add in (
        (merging.model_merge_simple(ctx, model1=two[0].model, model2=two[1].model, ratio=0.3), 0.3, 0.7),
        (merging.model_merge_subtract(ctx, model1=two[0].model, model2=two[1].model, multiplier=2.0), 2.0, -2.0),
        (merging.model_merge_add(ctx, model1=two[0].model, model2=two[1].model), 1.0, 1.0),
    ):
        got = values(made)
        assert all(torch.allclose(got[k], a[k] * keep + b[k] * add, atol=1e-6) for k in a)
    same = merging.model_merge_simple(ctx, model1=two[0].model, model2=two[1].model, ratio=1.0)
    assert same.patches == ()


def test_a_merge_of_a_merge_uses_the_patched_weights(two: list[Any], tmp_path: Path) -> None:
    ctx = Bench(tmp_path).context()
    a, b = values(two[0].model), values(two[1].model)
    difference = merging.model_merge_subtract(ctx, model1=two[1].model, model2=two[0].model, multiplier=0.5)
    got = values(merging.model_merge_add(ctx, model1=two[0].model, model2=difference))
    assert all(torch.allclose(got[k], a[k] + (b[k] - a[k]) * 0.5, atol=1e-6) for k in a)


def test_blocks_take_the_longest_name(two: list[Any], tmp_path: Path) -> None:
    ctx = Bench(tmp_path).context()
    a, b = values(two[0].model), values(two[1].model)
    got = values(merging.model_merge_blocks(ctx, model1=two[0].model, model2=two[1].model, input=0.25, middle=0.5, out=1.0))
    for name, ratio in (("input_blocks.0.0.weight", 0.25), ("time_embed.0.weight", 0.25), ("middle_block.0.in_layers.2.weight", 0.5)):
        assert torch.allclose(got[name], a[name] * ratio + b[name] * (1 - ratio), atol=1e-6)
    assert torch.equal(got["out.2.weight"], a["out.2.weight"])
    specific = merging.ModelMergeSD1  # type: ignore[attr-defined]
    ratios = {i.name: 1.0 for i in specific.node_type.inputs[2:]} | {"input_blocks.1.": 0.0}
    got = values(specific(ctx, model1=two[0].model, model2=two[1].model, **ratios))
    assert torch.allclose(got["input_blocks.1.0.in_layers.2.weight"], b["input_blocks.1.0.in_layers.2.weight"])
    assert torch.equal(got["input_blocks.2.0.op.weight"], a["input_blocks.2.0.op.weight"])


def test_text_encoders_merge(two: list[Any], tmp_path: Path) -> None:
    ctx = Bench(tmp_path).context()
    a, b = values(two[0].clip), values(two[1].clip)
    got = values(merging.clip_merge_simple(ctx, clip1=two[0].clip, clip2=two[1].clip, ratio=0.5))
    assert all(torch.allclose(got[k], (a[k] + b[k]) / 2, atol=1e-6) for k in a)


def test_models_of_two_kinds_are_named(two: list[Any], tmp_path: Path) -> None:
    loadable = two[1].model.loadable
    cut = {name: value[:-1] for name, value in loadable.source.items()}
    other = replace(two[1].model, loadable=replace(loadable, source=cut))
    with pytest.raises(BadInput, match=r"The first model is Stable Diffusion 1, the second is Stable Diffusion 1: \d+ of \d+ weights"):
        merging.model_merge_add(Bench(tmp_path).context(), model1=two[0].model, model2=other)


def test_what_is_saved_loads_again(two: list[Any], tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    ctx = bench.context({"1": {"class_type": "x", "inputs": {}}})
    model = merging.model_merge_simple(ctx, model1=two[0].model, model2=two[1].model, ratio=0.5)
    merging.checkpoint_save(ctx, model=model, clip=two[0].clip, vae=two[0].vae)
    merging.vae_save(ctx, vae=two[0].vae)
    merging.clip_save(ctx, clip=two[0].clip)
    merging.model_save(ctx, model=model)
    out = bench.folders.directory("output")
    path = out / "checkpoints" / "ComfyUI_00001_.safetensors"
    again = load_checkpoint(path, bench.services)
    assert again.unmatched == () and again.clip is not None and again.vae is not None
    expected, got = values(model), values(again.model)
    assert got.keys() == expected.keys() and all(torch.equal(got[k], expected[k]) for k in got)
    file = open_weights(path)
    assert file.metadata["modelspec.prediction_type"] == "epsilon" and "class_type" in file.metadata["prompt"]
    original = open_weights(tmp_path / "m0.safetensors")
    assert set(original) - {"alphas_cumprod"} == set(file)
    vae = load_vae(out / "vae" / "ComfyUI_vae_00001_.safetensors", bench.services)
    first = next(iter(vae.loadable.source))
    assert torch.equal(vae.loadable.source[first], two[0].vae.loadable.source[first])
    text = load_text_encoder(out / "clip" / "ComfyUI_clip_l_00001_.safetensors", bench.services)
    assert values(text).keys() == values(two[0].clip).keys()
    assert {k.split(".")[0] for k in open_weights(out / "diffusion_models" / "ComfyUI_00001_.safetensors")} == {"model"}


@pytest.mark.parametrize("kind", ["sd2", "sdxl", "refiner"])
def test_text_encoders_of_every_family_keep_their_published_names(kind: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    source = kinds.make(kind).single(tmp_path / "model.safetensors")
    loaded = load_checkpoint(source, bench.services)
    vae = loaded.vae
    assert loaded.model is not None and loaded.clip is not None and vae is not None
    merging.checkpoint_save(bench.context(), model=loaded.model, clip=loaded.clip, vae=vae)
    saved, original = open_weights(bench.folders.directory("output") / "checkpoints" / "ComfyUI_00001_.safetensors"), open_weights(source)
    for key in saved:
        if key != "v_pred":
            assert torch.equal(saved.tensor(key), original.tensor(key)), key
    wanted = {key for key in original if key.startswith(("model.", "cond_stage_model.", "conditioner.", "first_stage_model."))}
    assert wanted - set(saved) <= {key for key in wanted if key.endswith(("logit_scale", "position_ids"))}
