"""LoRA nodes from end to end on tiny models: by block, merged and saved, taken out of a difference and put on again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.families.load import load_checkpoint
from backend.weights.merge import Weights
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from nodes import loaders, lora, model_merging
from tests.families import kinds
from tests.nodes.bench import Bench

RANK = 2


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.folders.input.mkdir(parents=True, exist_ok=True)
    return made


def checkpoint(bench: Bench, family: str = "sd1") -> Any:
    path = bench.folders.models / "checkpoints" / f"{family}.safetensors"
    if not path.exists():
        kinds.make(family).single(path)
    return load_checkpoint(path, bench.services)


def write_lora(bench: Bench, family: str = "sd1", seed: int = 0) -> dict[str, Tensor]:
    """A LoRA on some attentions and both text encoders, as published for the family; what it does to each module."""
    twin, g = kinds.make(family), torch.Generator().manual_seed(seed)
    pair = len(twin.texts) > 1
    nets = {"lora_unet_": twin.unet, "lora_te1_" if pair else "lora_te_": twin.texts["text_encoder"]}
    nets |= {"lora_te2_": twin.texts["text_encoder_2"]} if pair else {}
    tensors: dict[str, Tensor] = {}
    for prefix, net in nets.items():
        for name, weight in net.named_parameters():
            if name.endswith(("to_q.weight", "q_proj.weight")):
                name = name if prefix == "lora_unet_" or name.startswith("text_model.") else f"text_model.{name}"
                module = prefix + name.removesuffix(".weight").replace(".", "_")
                tensors[f"{module}.lora_up.weight"] = torch.randn(weight.shape[0], RANK, generator=g)
                tensors[f"{module}.lora_down.weight"] = torch.randn(RANK, weight.shape[1], generator=g)
    save_safetensors(bench.folders.models / "loras" / f"{family}_{seed}.safetensors", tensors)
    return tensors


def changes(before: Any, after: Any) -> dict[str, Tensor]:
    """What differs between two handles, by parameter."""
    old, new = Weights.of(before), Weights.of(after)
    found = {name: new.value(name) - old.value(name) for name in new if new.changed(name) or old.changed(name)}
    return {name: value for name, value in found.items() if value.abs().max() > 0}


def test_by_block(bench: Bench) -> None:
    loaded = checkpoint(bench)
    write_lora(bench)
    ctx, name = bench.context(), "sd1_0.safetensors"
    whole = changes(loaded.model, loaders.lora_loader(ctx, model=loaded.model, clip=loaded.clip, lora_name=name).MODEL)
    made = lora.lora_loader_by_block(
        ctx, model=loaded.model, clip=loaded.clip, lora_name=name, block_weights="input: 0, middle: 0.5, output: 1, text: 0"
    )
    got = changes(loaded.model, made.MODEL)
    assert set(got) == {n for n in whole if not n.startswith("input_blocks")} and made.CLIP is loaded.clip
    for n, value in got.items():
        assert torch.allclose(value, whole[n] * (0.5 if n.startswith("middle") else 1.0), atol=1e-5)
    with pytest.raises(BadInput, match="is no block"):
        lora.lora_loader_by_block(ctx, model=loaded.model, clip=loaded.clip, lora_name=name, block_weights="x: 1")


def test_merged_saved_and_loaded_again(bench: Bench) -> None:
    loaded = checkpoint(bench)
    write_lora(bench, seed=0)
    write_lora(bench, seed=1)
    ctx = bench.context()
    files = [lora.load_lora_file(ctx, lora_name=f"sd1_{i}.safetensors") for i in (0, 1)]
    merged = lora.lora_merge(ctx, lora1=files[0], lora2=files[1], weight1=0.5, weight2=-0.25)
    lora.save_lora(ctx, lora=merged, prefix="loras/both", steps=7)
    path = bench.folders.output / "loras" / "both_7_steps_00001_.safetensors"
    path.rename(bench.folders.models / "loras" / "both.safetensors")
    one = loaders.lora_loader(ctx, model=loaded.model, clip=loaded.clip, lora_name="both.safetensors")
    two = loaders.lora_loader(
        ctx, model=loaded.model, clip=loaded.clip, lora_name="sd1_0.safetensors", strength_model=0.5, strength_clip=0.5
    )
    two = loaders.lora_loader(ctx, model=two.MODEL, clip=two.CLIP, lora_name="sd1_1.safetensors", strength_model=-0.25, strength_clip=-0.25)
    for got, want, base in ((one.MODEL, two.MODEL, loaded.model), (one.CLIP, two.CLIP, loaded.clip)):
        expected = changes(base, want)
        assert expected and expected.keys() == (found := changes(base, got)).keys()
        assert all(torch.allclose(found[n], value, atol=1e-4) for n, value in expected.items())
    put = lora.lora_model_loader(ctx, model=loaded.model, lora=merged, strength_model=1.0)
    assert changes(loaded.model, put).keys() == changes(loaded.model, one.MODEL).keys()
    assert lora.lora_model_loader(ctx, model=loaded.model, lora=merged, strength_model=0.0) is loaded.model
    smaller = lora.lora_merge(ctx, lora1=merged, rank=1)
    assert all(value.shape[1] == 1 for key, value in smaller.items() if key.endswith("lora_up.weight"))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_taken_out_of_a_difference(family: str, bench: Bench) -> None:
    loaded = checkpoint(bench, family)
    write_lora(bench, family)
    ctx = bench.context()
    changed = loaders.lora_loader(ctx, model=loaded.model, clip=loaded.clip, lora_name=f"{family}_0.safetensors")
    model = model_merging.model_merge_subtract(ctx, model1=changed.MODEL, model2=loaded.model)
    clip = model_merging.clip_merge_subtract(ctx, clip1=changed.CLIP, clip2=loaded.clip)
    lora.lora_save(ctx, filename_prefix="loras/taken", rank=RANK, lora_type="standard", model_diff=model, text_encoder_diff=clip)
    path = bench.folders.output / "loras" / "taken_00001_.safetensors"
    path.rename(bench.folders.models / "loras" / "taken.safetensors")
    again = loaders.lora_loader(ctx, model=loaded.model, clip=loaded.clip, lora_name="taken.safetensors")
    assert "match nothing" not in " ".join(bench.texts())
    for got, want, base in ((again.MODEL, changed.MODEL, loaded.model), (again.CLIP, changed.CLIP, loaded.clip)):
        expected, found = changes(base, want), changes(base, got)
        assert expected and expected.keys() == found.keys()
        assert all(torch.allclose(found[n], value, atol=2e-2) for n, value in expected.items())  # the file holds 16 bits
    lora.lora_save(ctx, filename_prefix="loras/whole", lora_type="full_diff", bias_diff=False, model_diff=model)
    names = list(open_weights(bench.folders.output / "loras" / "whole_00001_.safetensors"))
    assert names and all(name.startswith("diffusion_model.") and name.endswith(".diff") for name in names)
    with pytest.raises(BadInput, match="no difference"):
        lora.lora_save(ctx, lora_type="standard")


def test_a_lora_for_another_family_names_both_sides(bench: Bench) -> None:
    loaded = checkpoint(bench)
    file = {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 1)}
    file |= {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(1, 4)}
    with pytest.raises(BadInput, match=r"The LoRA \(made by a node\) is for SDXL, the model is Stable Diffusion 1") as caught:
        lora.lora_model_loader(bench.context(), model=loaded.model, lora=file)
    assert caught.value.where.node == "7" and caught.value.where.input == "lora"
