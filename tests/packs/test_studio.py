"""A pack that uses the application as large packs do: what it borrows, subclasses, adds and looks into behaves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from backend.control.unet.net import ControlNet, ControlSizes
from backend.families.load import load_checkpoint
from backend.nn.layers import init_weights
from backend.packs.loader import module_name
from backend.weights.save import save_safetensors
from tests.packs.home import Home, node, sampled


@pytest.fixture
def studio(home: Home) -> Home:
    home.model()
    home.add("studio")
    home.start()
    (pack,) = home.loaded.packs
    assert pack.error is None and not pack.faults and not pack.wanted, (pack.traceback, pack.faults, pack.wanted)
    assert (pack.web, pack.web_name) == (home.packs_at / "studio" / "js", "studio_web"), "a directory of scripts that it added itself"
    return home


@contextmanager
def failing(home: Home) -> Iterator[None]:
    """Within it the pack's control fails after it has prepared the one before it."""
    control = sys.modules[module_name(home.packs_at / "studio")].Residuals
    before = control.pre_run

    def pre_run(self: Any, *args: Any) -> None:
        before(self, *args)
        raise RuntimeError("not today")

    control.pre_run = pre_run
    try:
        yield
    finally:
        control.pre_run = before


def seen(home: Home) -> list[Any]:
    found: list[Any] = sys.modules[module_name(home.packs_at / "studio")].SEEN
    return found


def test_details_are_made_anew_with_core_classes(studio: Home) -> None:
    graph = sampled()
    graph["i"] = node("EmptyImage", width=128, height=128, batch_size=1, color=0x80FF40)
    links = {"image": ["i", 0], "model": ["1", 0], "vae": ["1", 2], "positive": ["2", 0], "negative": ["3", 0]}
    graph["d"] = node("StudioDetail", **links, sampler_name="studio", scheduler="karras")
    graph["7"] = node("PreviewImage", images=["d", 0])
    studio.ran(graph)
    assert studio.shown("7")["images"] and studio.results("d")[1][0].region == (0, 0, 128, 128)


def test_savers_rows_and_looks(studio: Home) -> None:
    graph = sampled()
    rows = {
        "lora_1": {"on": True, "lora": "x.safetensors", "strength": 0.5},
        "➕ Add": "",
        "lora_2": {"on": False, "lora": "", "strength": 1},
    }
    graph["p"] = node("StudioPowerLora", model=["1", 0], clip=["1", 1], **rows)
    graph["t"] = node("PreviewAny", source=["p", 2])
    graph["l"] = node("StudioLooks", model=["p", 0], clip=["p", 1], latent=["4", 0])
    graph["c"] = node("StudioCompare", image_a=["6", 0], image_b=["6", 0])
    studio.ran(graph)
    assert studio.shown("t")["text"] == ['{"lora_1": 0.5, "lora_2": 1}'] and studio.shown("l")["text"] == ["(1, 4, 8, 8)"]
    assert [i["type"] for i in studio.shown("c")["a_images"]] == ["temp"] and "_studio" in studio.shown("c")["b_images"][0]["filename"]


def test_a_mask_that_moves(studio: Home) -> None:
    graph = sampled()
    graph["k"] = node("SolidMask", value=0.5, width=64, height=64)
    graph["m"] = node("SetLatentNoiseMask", samples=["4", 0], mask=["k", 0])
    graph["t"] = node("StudioThresholds", model=["1", 0])
    graph["5"]["inputs"] |= {"model": ["t", 0], "latent_image": ["m", 0]}
    studio.ran(graph)
    assert seen(studio)[0] == pytest.approx(1.0) and seen(studio) == sorted(seen(studio), reverse=True)


def test_a_control_of_the_pack_runs_one_of_the_application(studio: Home) -> None:
    folders = studio.bench.folders
    model = load_checkpoint(folders.find_or_raise("checkpoints", "tiny.safetensors"), studio.bench.services).model
    assert model is not None
    torch.manual_seed(0)
    net = ControlNet(ControlSizes(model.sizes, hint_widths=(8, 8, 8, 8, 8, 8, 8)))
    init_weights(net)
    path = folders.models / "controlnet" / "c.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(path, {f"control_model.{name}": weight * 0.5 for name, weight in net.state_dict().items()})
    graph = sampled()
    graph["i"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0x80FF40)
    graph["n"] = node("ControlNetLoader", control_net_name="c.safetensors")

    def made(strength: float, doubled: bool) -> torch.Tensor:
        graph["a"] = node("ControlNetApply", conditioning=["2", 0], control_net=["n", 0], image=["i", 0], strength=strength)
        graph["r"] = node("StudioDoubled", conditioning=["a", 0])
        graph["5"]["inputs"]["positive"] = ["r" if doubled else "a", 0]
        studio.ran(graph)
        found: torch.Tensor = studio.results("5")[0][0]["samples"]
        return found

    twice, by_pack, once = made(0.6, False), made(0.3, True), made(0.3, False)
    assert len(seen(studio)) == 3 and seen(studio)[0] == ((2, 4, 8, 8), 2, 2, True)
    assert torch.allclose(by_pack, twice, atol=1e-4) and not torch.allclose(once, twice, atol=1e-3)

    def in_a_row(doubled: bool) -> torch.Tensor:
        """Two of the application, and the pack's."""
        graph["b"] = node("ControlNetApply", conditioning=["2", 0], control_net=["n", 0], image=["i", 0], strength=0.15 if doubled else 0.3)
        graph["a"]["inputs"] |= {"conditioning": ["b", 0], "strength": 0.15 if doubled else 0.3}
        graph["5"]["inputs"]["positive"] = ["r" if doubled else "a", 0]
        studio.ran(graph)
        found: torch.Tensor = studio.results("5")[0][0]["samples"]
        return found

    assert torch.allclose(in_a_row(True), in_a_row(False), atol=1e-4) and torch.allclose(in_a_row(False), twice, atol=1e-3)
    pool = studio.bench.services.pool
    with pytest.raises(AssertionError), failing(studio):
        made(0.3, True)
    assert not any(row["leased"] for row in pool.table())
