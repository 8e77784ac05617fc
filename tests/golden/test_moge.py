"""MoGe 2 against values recorded from the authors' package (2.0.0); cameras that are known, pictures, and files that are something else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.encoders.dino import DinoSizes
from backend.encoders.geometry.camera import focal_and_shift, on_rays
from backend.encoders.geometry.moge import LINEAR, SHUFFLED, TRANSPOSED, MogeNet, MogeSizes, StackSizes
from backend.encoders.geometry.moge_spec import load_moge, patches
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.moge import load_moge_model, moge_inference, moge_render
from tests.golden.recorded import apart, filled, picture
from tests.nodes.bench import Bench

WIDTHS = (32, 32, 16, 16, 16)
NECK = StackSizes((34, 2, 2, 2, 2), WIDTHS, (0,) * 5, (1, 2, 1, 1, 1), 2, (TRANSPOSED, TRANSPOSED, SHUFFLED, LINEAR))
POINTS = StackSizes(WIDTHS, WIDTHS, (0, 0, 0, 0, 3), (0, 1, 1, 1, 1), 1, (TRANSPOSED,) * 3 + (LINEAR,), (False, False))
MASK = StackSizes(WIDTHS, WIDTHS, (0, 0, 0, 0, 1), (0, 1, 1, 1, 1), 1, (TRANSPOSED,) * 3 + (LINEAR,), (False, False))
STACKS = {"neck": NECK, "points_head": POINTS, "normal_head": POINTS, "mask_head": MASK}
SIZES = MogeSizes(DinoSizes(width=128, layers=4, mlp=512, positions=10, taken=(1, 2, 3, 4)), 32, STACKS, (128, 16, 1))
RECORDED = {
    "points": [
        -0.140395, 0.146896, -0.322299, 0.657136, 0.673015, -0.012667, 0.321221, 0.412652, -0.40112, 0.558689, -0.008778,
        -1.386863, -0.311048, -0.128242, 0.426927, -0.165121, -0.146955, -0.983919, 1.54346, 1.806862, 2.166201, 1.415594,
        0.999464, 1.51164, 0.945147, 1.229329, 1.353078,
    ],
    "normals": [
        -0.664071, -0.666538, 0.399078, 0.790122, 0.785883, -0.33825, 0.098554, 0.377085, 0.686544, 0.285644, -0.008879, 0.77343,
        0.21988, 0.617642, 0.110356, 0.056075, 0.922575, 0.405651, -0.690954, -0.745418, -0.492487, 0.572153, -0.030112,
        -0.934563, 0.993551, 0.081623, 0.60341,
    ],
    "mask": [0.310959, 0.333815, 0.510775, 0.281353, 0.301734, 0.305911, 0.423509, 0.46818, 0.386942],
}  # fmt: skip


def written(path: Path, **changed: torch.Tensor) -> Path:
    extra = {"encoder.image_mean": torch.zeros(1, 3, 1, 1), "encoder.backbone.mask_token": torch.zeros(1, 128)}
    save_safetensors(path, {**filled(MogeNet(SIZES)), **extra, **changed})
    return path


def test_the_net_equals_the_authors(tmp_path: Path) -> None:
    model = load_moge(written(tmp_path / "moge.safetensors"))
    assert model.sizes == SIZES
    with torch.no_grad(), Pool("cpu").lease(model.loadable) as net:
        points, normals, mask, scale = net(picture(60, 75).sigmoid(), 4, 5)
    found = {"points": points.movedim(-1, 1), "normals": normals.movedim(-1, 1), "mask": mask}
    assert apart(found, RECORDED, 29, 37) < 2e-6 and abs(float(scale) - 1.2003) < 1e-4


def test_a_camera_is_found() -> None:
    """Points of a camera with a known focal length, moved away, are brought back."""
    height, width = 48, 64
    depth = 2 + torch.rand(height, width, generator=torch.Generator().manual_seed(0))
    across = 0.9
    points = on_rays(depth, across, across * width / height) - torch.tensor([0.0, 0.0, 0.7])
    focal, shift = focal_and_shift(points)
    diagonal = math.hypot(height, width)
    assert abs(focal / 2 * diagonal / width - across) < 2e-3 and abs(shift - 0.7) < 5e-3
    given, alone = focal_and_shift(points, focal=across * 2 * width / diagonal)
    assert given == across * 2 * width / diagonal and abs(alone - 0.7) < 5e-3
    assert focal_and_shift(points, torch.zeros(height, width, dtype=torch.bool)) == (1.0, 0.0)


def test_detail_is_a_number_of_patches() -> None:
    assert patches(300, 300, 0) == (35, 35) and patches(300, 300, 9) == (60, 60)


def test_the_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.encoders.geometry.moge_spec.PATCHES", (12, 20))
    bench = Bench(tmp_path)
    folder = bench.folders.kind("geometry_estimation").paths[0]
    folder.mkdir(parents=True, exist_ok=True)
    written(folder / "moge.safetensors")
    model = load_moge_model(bench.context(), model_name="moge.safetensors")
    scene = moge_inference(
        bench.context(), moge_model=model, image=torch.rand(2, 30, 45, 3), resolution_level=0, fov_x_degrees=60.0, batch_size=1,
        force_projection=True, apply_mask=True,
    )  # fmt: skip
    assert abs(scene.focal[0][0] - 0.5 / math.tan(math.radians(30))) < 1e-6
    there = scene.mask[..., None]
    for output in ("depth", "depth_colored", "mask", "normal_opengl", "normal_directx"):
        drawn = moge_render(bench.context(), moge_geometry=scene, output=output)
        assert drawn.shape == (2, 30, 45, 3) and bool(drawn.isfinite().all()) and float(drawn.min()) >= 0 and float(drawn.max()) <= 1
        assert not bool((drawn * ~there).any())
    blind = type(scene)(scene.points, scene.mask, None, scene.focal, scene.pictures)
    with pytest.raises(BadInput, match="no normals"):
        moge_render(bench.context(), moge_geometry=blind, output="normal_opengl")


def test_files_of_something_else(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "a.safetensors", {"a": torch.ones(1)})
    with pytest.raises(UnknownModel, match="no MoGe"):
        load_moge(tmp_path / "a.safetensors")
    with pytest.raises(BadFile, match="scale_head"):
        load_moge(written(tmp_path / "b.safetensors", **{"scale_head.0.bias": torch.zeros(3)}))
