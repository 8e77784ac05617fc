"""Small nodes of newer graphs: conditioning as files, attention by choice, film and sound as one latent, what Marigold 2 decodes to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from backend.base.errors import BadFile, BadInput
from backend.engine.context import Blocker
from backend.nn.attention import PREFERENCE
from backend.weights.save import save_safetensors
from nodes.attention_backend import Preferring, model_attention_backend
from nodes.av_latent import concat_av_latent, separate_av_latent
from nodes.conditioning_files import conditioning_loader, conditioning_saver
from nodes.crop_to_mask import image_crop_to_mask
from nodes.depth import marigold_2_decode
from nodes.preview_any import preview_any
from tests.nodes.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def load(bench: Bench, name: str) -> Any:
    return conditioning_loader(bench.context(), conditioning_name=name)


def test_a_conditioning_comes_back_from_its_file(bench: Bench) -> None:
    pooled = torch.randn(1, 6)
    given = [[torch.randn(1, 4, 8), {"pooled_output": pooled, "guidance": 2.5, "hooks": object()}], [torch.randn(1, 3, 8), {}]]
    conditioning_saver(bench.context(), conditioning=given, filename_prefix="a/b")
    written = next((bench.folders.directory("output") / "a").iterdir())
    folder = bench.folders.kind("embeddings").paths[0]
    folder.mkdir(parents=True)
    written.rename(folder / "saved.safetensors")
    found = load(bench, "saved.safetensors")
    assert [torch.equal(a[0], b[0]) for a, b in zip(found, given, strict=True)] == [True, True]
    assert torch.equal(found[0][1]["pooled_output"], pooled) and found[0][1]["guidance"] == 2.5
    assert any("hooks" in text for text in bench.texts())


def test_the_one_sequence_of_a_file_is_its_conditioning(bench: Bench) -> None:
    folder = bench.folders.kind("embeddings").paths[0]
    save_safetensors(folder / "m.safetensors", {"anything": torch.ones(5, 7, dtype=torch.float16), "attention_mask": torch.ones(1, 5)})
    [[tokens, extra]] = load(bench, "m.safetensors")
    assert tokens.shape == (1, 5, 7) and tokens.dtype == torch.float32 and extra["attention_mask"].shape == (1, 5)


def test_a_file_without_a_prompt_is_refused(bench: Bench) -> None:
    save_safetensors(bench.folders.kind("embeddings").paths[0] / "w.safetensors", {"bias": torch.ones(5)})
    with pytest.raises(BadFile, match="holds no encoded prompt"):
        load(bench, "w.safetensors")


def test_attention_is_chosen_for_one_model(bench: Bench) -> None:
    model: Any = SimpleNamespace(with_tap=lambda name, tap: (name, tap))
    name, tap = model_attention_backend(bench.context(), model=model, attention="matrix products")
    seen = tap(lambda x, t, inputs: PREFERENCE.kernel, torch.ones(1), torch.ones(1), {})
    assert (name, seen, PREFERENCE.kernel) == ("forward", "products", "") and tap == Preferring("products")


def test_film_and_sound_travel_together(bench: Bench) -> None:
    film, sound = {"samples": torch.ones(1, 4, 2, 8, 8), "noise_mask": torch.ones(1)}, {"samples": torch.ones(1, 8, 5, 16)}
    apart = separate_av_latent(bench.context(), av_latent=concat_av_latent(bench.context(), video_latent=film, audio_latent=sound))
    assert apart.video_latent == film and apart.audio_latent is sound
    assert isinstance(separate_av_latent(bench.context(), av_latent=film).audio_latent, Blocker)


def test_what_marigold_2_decodes_to(bench: Bench) -> None:
    picture = torch.rand(1, 4, 4, 3)
    depth = marigold_2_decode(bench.context(), image=picture, prediction="depth")
    assert depth.shape == (1, 4, 4, 3) and float(depth.min()) == 0 and float(depth.max()) == 1
    normals = marigold_2_decode(bench.context(), image=picture, prediction="normals")
    assert torch.allclose((normals * 2 - 1).norm(dim=-1), torch.ones(1, 4, 4), atol=1e-5)


def test_a_preview_hands_its_text_on(bench: Bench) -> None:
    assert preview_any(bench.context(), source={"a": 1}) == '{\n    "a": 1\n}'


def test_a_mask_is_cut_out_and_centred(bench: Bench) -> None:
    image, mask = torch.full((1, 20, 30, 3), 0.25), torch.zeros(1, 20, 30)
    mask[:, 2:12, 18:28] = 1
    image[:, 2:12, 18:28] = torch.tensor([1.0, 0.0, 0.0])
    given: dict[str, Any] = {"images": image, "masks": mask, "width": 40, "height": 40, "grow_mask": 0, "background": "#0000ff"}
    cut = image_crop_to_mask(bench.context(), pad_factor=2.0, **given)
    assert cut.shape == (1, 40, 40, 3)
    assert torch.allclose(cut[0, 20, 20], torch.tensor([1.0, 0.0, 0.0]), atol=1e-3), "what the mask shows is in the middle"
    assert torch.allclose(cut[0, 2, 2], torch.tensor([0.0, 0.0, 1.0]), atol=1e-3), "beyond the picture the background goes on"
    tight = image_crop_to_mask(bench.context(), pad_factor=1.0, **given)
    assert torch.allclose(tight, torch.tensor([1.0, 0.0, 0.0]).expand_as(tight), atol=1e-3)
    assert image_crop_to_mask(bench.context(), pad_factor=1.0, **{**given, "masks": mask * 0}).shape == (1, 40, 40, 3)
    with pytest.raises(BadInput, match="no colour"):
        image_crop_to_mask(bench.context(), pad_factor=1.0, **{**given, "background": "blue"})
    with pytest.raises(BadInput, match="1 images and 2 masks"):
        image_crop_to_mask(bench.context(), pad_factor=1.0, **{**given, "masks": torch.zeros(2, 20, 30)})
