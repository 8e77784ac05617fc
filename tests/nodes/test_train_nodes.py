"""A LoRA from a folder of pictures to a file that loads, node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from backend.base.errors import BadInput, MissingFile
from backend.graph.choices import FolderChoices
from nodes import loaders, lora, train, vae
from tests.families import tiny
from tests.nodes.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    folder = bench.folders.input / "cats"
    folder.mkdir(parents=True)
    for i, size in enumerate(((16, 16), (16, 16), (24, 16))):
        Image.new("RGB", size, (80 * i, 40, 200)).save(folder / f"{i}.png")
    (folder / "0.txt").write_text("a cat", encoding="utf-8")
    (folder / "notes.md").write_text("no picture", encoding="utf-8")
    return bench


def test_folders(bench: Bench) -> None:
    ctx = bench.context()
    assert FolderChoices(bench.folders)(train.FOLDERS) == ["cats"]
    for way in ("Stretch", "Crop", "Pad"):
        assert train.load_image_set(ctx, folder="cats", resize_method=way).shape == (3, 16, 16, 3)
    padded = train.load_image_set(ctx, folder="cats", resize_method="Pad")
    assert not padded[2, :2].any() and padded[2, 8].any()
    with pytest.raises(BadInput, match="24 x 16"):
        train.load_image_set(ctx, folder="cats", resize_method="None")
    (bench.folders.input / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(MissingFile):
            train.load_image_set(ctx, folder=name)


def test_from_pictures_to_a_file(bench: Bench) -> None:
    checkpoints, loras = bench.folders.models / "checkpoints", bench.folders.models / "loras"
    for place in (checkpoints, loras):
        place.mkdir(parents=True)
    tiny.make().single(checkpoints / "tiny.safetensors")
    ctx = bench.context()
    model, clip, coder = loaders.checkpoint_loader_simple(ctx, ckpt_name="tiny.safetensors")
    found = train.load_image_text_set(ctx, folder="cats", clip=clip, resize_method="Crop", width=16, height=16)
    assert len(found.CONDITIONING) == 3 and found.IMAGE.shape == (3, 16, 16, 3)
    latents = vae.vae_encode(ctx, pixels=found.IMAGE, vae=coder)
    options: dict[str, Any] = {"steps": 3, "rank": 2, "learning_rate": 0.01, "training_dtype": "fp32"}
    made = train.train_lora(ctx, model=model, latents=latents, positive=found.CONDITIONING, **options)
    assert made.steps == 3 and len(made.loss["loss"]) == 3 and made.lora and [s.value for s in bench.steps()][-3:] == [1, 2, 3]
    assert all(value.dtype == torch.bfloat16 for value in made.lora.values())
    lora.save_lora(ctx, lora=made.lora, steps=made.steps)
    (saved,) = (bench.folders.output / "loras").glob("*.safetensors")
    assert "3_steps" in saved.name
    saved.rename(loras / saved.name)
    loaded = loaders.lora_loader_model_only(ctx, model=model, lora_name=saved.name, strength_model=1.0)
    assert len(loaded.patches) == len(made.model_with_lora.patches) > 80
    again = train.train_lora(ctx, model=model, latents=latents, positive=found.CONDITIONING, existing_lora=saved.name, **options)
    assert again.steps == 6
    train.loss_graph(ctx, loss=made.loss)
    with Image.open(bench.folders.temp / ctx.shown["images"][-1]["filename"]) as picture:
        assert picture.size == (800, 480) and len(picture.getcolors(1 << 16) or ()) > 2
    with pytest.raises(BadInput, match="no losses"):
        train.loss_graph(ctx, loss={})
    with pytest.raises(BadInput, match="another kind or rank"):
        train.train_lora(ctx, model=model, latents=latents, positive=found.CONDITIONING, existing_lora=saved.name, **{**options, "rank": 4})
