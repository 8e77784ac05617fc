"""Depth Anything 3 against values recorded from the authors' package (0.1.1); pictures, skies, and files that are something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.encoders.dino import DinoSizes
from backend.encoders.geometry.anything import AnythingNet, AnythingSizes
from backend.encoders.geometry.anything_spec import Depths, load_anything, seen_size
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.depth_anything import da3_inference, da3_render, load_da3
from tests.golden.recorded import apart, filled, picture
from tests.nodes.bench import Bench

RECORDED = {
    False: {
        "depth": [1.151256, 1.183483, 1.20694, 1.111959, 1.160941, 1.136304, 1.182031, 1.0506, 1.165745, 1.192462, 1.113415, 1.084952],
        "beside": [0.0, 0.0, 0.0, 0.013376, 0.01655, 0.0, 0.0, 0.090009, 0.016454, 0.0, 0.019459, 0.027892],
    },
    True: {
        "depth": [1.208673, 1.220784, 1.350204, 1.153022, 1.195059, 1.189737, 1.209919, 1.1109, 1.195638, 1.258551, 1.43018, 1.035409],
        "beside": [2.102526, 2.134397, 2.178566, 2.081747, 2.10002, 2.119106, 2.1894, 2.173806, 1.972245, 2.198869, 2.227357, 2.188565],
    },
}


def sizes(views: bool) -> AnythingSizes:
    dino = DinoSizes(width=128, layers=4, mlp=512, positions=10, taken=(1, 2, 3, 4), several=2 if views else None, norm=1e-5)
    return AnythingSizes(dino, neck=(8, 8, 16, 16), fusion=16)


def written(path: Path, views: bool) -> Path:
    save_safetensors(path, {f"model.{name}": value for name, value in filled(AnythingNet(sizes(views))).items()})
    return path


@pytest.mark.parametrize("views", [False, True], ids=["one picture", "any number of views"])
def test_the_net_equals_the_authors(views: bool, tmp_path: Path) -> None:
    model = load_anything(written(tmp_path / "da3.safetensors", views))
    assert model.sizes == sizes(views)
    with torch.no_grad(), Pool("cpu").lease(model.loadable) as net:
        assert apart(net(picture(56, 70))._asdict(), RECORDED[views], 19, 23) < 2e-6


def test_sizes_are_rounded_to_patches() -> None:
    assert seen_size(600, 900, 504, True, 14) == (336, 504) and seen_size(600, 900, 504, False, 14) == (504, 756)


def test_sky_is_as_far_as_the_rest() -> None:
    depth, sky = torch.arange(100.0).reshape(1, 10, 10), torch.zeros(1, 10, 10)
    sky[:, :2] = 1
    clipped = Depths(depth, sky).clipped()
    assert torch.equal(clipped[0, 2:], depth[0, 2:]) and bool((clipped[0, :2] == 98).all())


def test_the_nodes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    folder = bench.folders.kind("geometry_estimation").paths[0]
    folder.mkdir(parents=True, exist_ok=True)
    written(folder / "da3.safetensors", views=False)
    model = load_da3(bench.context(), model_name="da3.safetensors", weight_dtype="fp32")
    found = da3_inference(
        bench.context(), da3_model=model, image=torch.rand(2, 30, 45, 3), resolution=140, resize_method="upper_bound_resize", mode="mono"
    )
    for how in ("v2_style", "min_max", "raw"):
        options = {"output.normalization": how, "output.apply_sky_clip": True}
        drawn = da3_render(bench.context(), da3_geometry=found, output="depth", **options)
        assert drawn.shape == (2, 30, 45, 3) and (how == "raw" or (float(drawn.min()), float(drawn.max())) == (0, 1))
    near = da3_render(bench.context(), da3_geometry=found, output="depth")
    assert float(near[0, ..., 0].flatten()[found.depth[0].argmin()]) == 1
    assert da3_render(bench.context(), da3_geometry=found, output="sky").shape == (2, 30, 45, 3)
    with pytest.raises(BadInput, match="says nothing of 'confidence'"):
        da3_render(bench.context(), da3_geometry=found, output="confidence")


def test_files_of_something_else(tmp_path: Path) -> None:
    state = filled(AnythingNet(sizes(views=False)))
    save_safetensors(tmp_path / "a.safetensors", {"a": torch.ones(1)})
    save_safetensors(tmp_path / "b.safetensors", {**state, "head.scratch.output_conv1.weight": torch.zeros(1, 2, 3, 3)})
    with pytest.raises(UnknownModel, match="no Depth Anything 3"):
        load_anything(tmp_path / "a.safetensors")
    with pytest.raises(BadFile, match="output_conv1"):
        load_anything(tmp_path / "b.safetensors")
