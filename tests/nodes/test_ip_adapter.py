"""The IP-Adapter nodes: from files and pictures to a model that samples, and their sentences."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from backend.base.errors import BadFile, BadInput
from backend.families.load import load_checkpoint
from backend.weights.save import save_safetensors
from nodes import ip_adapter as shelf
from tests.families import tiny
from tests.golden.test_ip_adapter import CLIP, POSITIONS, state, widths
from tests.nodes.bench import Bench


class Vision:
    """An image encoder that sees the mean colour."""

    def encode_image(self, image: torch.Tensor, pool: Any, crop: bool = True) -> Any:
        mean = image.mean((1, 2)).mean(1)
        return SimpleNamespace(
            image_embeds=mean[:, None].expand(-1, CLIP), penultimate_hidden_states=mean[:, None, None].expand(-1, POSITIONS, CLIP)
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.model = load_checkpoint(tiny.make().single(tmp_path / "tiny.safetensors"), bench.services).model  # type: ignore[attr-defined]
    return bench


def adapter(bench: Bench, kind: str) -> Any:
    weights = state(kind, widths(bench.model))  # type: ignore[attr-defined]
    folder = bench.folders.models / "ipadapter"
    folder.mkdir(parents=True, exist_ok=True)
    save_safetensors(folder / f"{kind}.safetensors", {key: value.contiguous() for key, value in weights.items()})
    return shelf.load_ip_adapter_node(bench.context(), ip_adapter_name=f"{kind}.safetensors")


def test_pictures_are_put_on_the_model_and_layers_chosen(bench: Bench) -> None:
    ctx, ip = bench.context(), adapter(bench, "base")
    pictures = torch.rand(2, 9, 9, 3)
    options = {"model": bench.model, "ip_adapter": ip, "clip_vision": Vision(), "image": pictures}  # type: ignore[attr-defined]
    places = len(widths(bench.model))  # type: ignore[attr-defined]
    assert len(shelf.apply_ip_adapter(ctx, **options, layers="all").taps["attn2_replace"]) == places
    style = shelf.apply_ip_adapter(ctx, **options, layers="style")
    assert [place for place, _ in style.taps["attn2_replace"]] == [("output", 3, 0)]
    layout = shelf.apply_ip_adapter(ctx, **options, layers="layout")
    assert [place for place, _ in layout.taps["attn2_replace"]] == [("input", 1, 0)]
    named = shelf.apply_ip_adapter(ctx, **options, layers="all", layer_weights="output 2: 0.5, middle 0: 2")
    assert {place[:2]: tap.weight for place, tap in named.taps["attn2_replace"]} == {("output", 2): 0.5, ("middle", 0): 2.0}
    with pytest.raises(BadInput, match="`down 7: 1` names no block") as error:
        shelf.apply_ip_adapter(ctx, **options, layers="all", layer_weights="down 7: 1")
    assert error.value.where.input == "layer_weights"


def test_embeds_are_saved_and_loaded(bench: Bench) -> None:
    ctx, ip = bench.context(), adapter(bench, "base")
    embeds = shelf.encode_ip_adapter(ctx, ip_adapter=ip, clip_vision=Vision(), image=torch.rand(2, 9, 9, 3))
    shelf.save_ip_adapter_embeds(ctx, embeds=embeds)
    saved = bench.folders.directory("output") / "ipadapter" / "embeds_00001_.safetensors"
    bench.folders.directory("input").mkdir(parents=True, exist_ok=True)
    saved.rename(bench.folders.directory("input") / "e.safetensors")
    again = shelf.load_ip_adapter_embeds(ctx, embeds="e.safetensors")
    assert torch.equal(again.cond, embeds.cond) and torch.equal(again.uncond, embeds.uncond)
    torch.save([torch.stack([embeds.uncond.expand(2, -1), embeds.cond])], bench.folders.directory("input") / "d.ipadpt")
    theirs = shelf.load_ip_adapter_embeds(ctx, embeds="d.ipadpt")
    assert torch.equal(theirs.cond, embeds.cond)
    (bench.folders.directory("input") / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(BadFile):
        shelf.load_face_embeds(ctx, embeds="bad.pt")


def test_faces_have_a_node_of_their_own(bench: Bench) -> None:
    ctx, face, base = bench.context(), adapter(bench, "face"), adapter(bench, "base")
    with pytest.raises(BadInput, match="face's identity"):
        shelf.encode_ip_adapter(ctx, ip_adapter=face, clip_vision=Vision(), image=torch.rand(1, 9, 9, 3))
    with pytest.raises(BadInput, match="no FaceID adapter"):
        shelf.apply_ip_adapter_face_id(ctx, model=bench.model, ip_adapter=base, face_embeds=torch.rand(1, 32), layers="all")  # type: ignore[attr-defined]
    made = shelf.apply_ip_adapter_face_id(ctx, model=bench.model, ip_adapter=face, face_embeds=torch.rand(1, 32), layers="all")  # type: ignore[attr-defined]
    assert made.taps["attn2_replace"]
    plus = adapter(bench, "face plus")
    with pytest.raises(BadInput, match="needs the picture of the face"):
        shelf.apply_ip_adapter_face_id(ctx, model=bench.model, ip_adapter=plus, face_embeds=torch.rand(1, 32), layers="all")  # type: ignore[attr-defined]
