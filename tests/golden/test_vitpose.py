"""ViTPose's heat maps and joints equal those of transformers, whichever names the file uses; skeletons are those of OpenPose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
from transformers.models.vitpose import image_processing_pil_vitpose as theirs

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.encoders.pose import decode
from backend.encoders.pose.spec import load_pose_model
from backend.imaging import skeleton
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes import pose
from tests.nodes.bench import Bench

TO_AUTHORS = (  # in order, as patterns
    (r"backbone\.embeddings\.position_embeddings", "backbone.pos_embed"),
    (r"backbone\.embeddings\.patch_embeddings\.projection", "backbone.patch_embed.proj"),
    (r"backbone\.encoder\.layer", "backbone.blocks"), (r"layernorm_before", "norm1"), (r"layernorm_after", "norm2"),
    (r"attention\.output\.dense", "attn.proj"), (r"backbone\.layernorm", "backbone.last_norm"),
    (r"head\.conv", "keypoint_head.final_layer"), (r"head\.deconv1", "keypoint_head.deconv_layers.0"),
    (r"head\.batchnorm1", "keypoint_head.deconv_layers.1"), (r"head\.deconv2", "keypoint_head.deconv_layers.3"),
    (r"head\.batchnorm2", "keypoint_head.deconv_layers.4"),
)  # fmt: skip
KINDS = {"simple": (True, 1), "learnt": (False, 1), "experts": (True, 6)}


@pytest.fixture(scope="module")
def twins() -> dict[str, Any]:
    return {kind: made(simple, experts) for kind, (simple, experts) in KINDS.items()}


def made(simple: bool, experts: int) -> Any:
    torch.manual_seed(0)
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], hidden_size=128, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, out_indices=[2],
        num_experts=experts, part_features=32, layer_norm_eps=1e-6,
    )  # fmt: skip
    twin = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, num_labels=17, use_simple_decoder=simple)).eval()
    for name, value in twin.named_parameters():
        torch.nn.init.normal_(value, std=0.2 if "position" in name else 0.08)
    for name, value in twin.named_buffers():
        if "running" in name:
            torch.nn.init.uniform_(value, 0.5, 1.5)
    return twin


def authors(twin: Any) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for key, value in twin.state_dict().items():
        for pattern, name in TO_AUTHORS:
            key = re.sub(pattern, name, key)
        state[key] = value
    for i in range(2):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"backbone.blocks.{i}.attention.attention.{name}.{kind}") for name in ("query", "key", "value")]
            state[f"backbone.blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    return state


@pytest.mark.parametrize("names", ["published", "authors"])
@pytest.mark.parametrize("kind", KINDS)
def test_heat_maps_equal_transformers(twins: dict[str, Any], kind: str, names: str, tmp_path: Path) -> None:
    twin, file = twins[kind], tmp_path / "vitpose.safetensors"
    save_safetensors(file, authors(twin) if names == "authors" else twin.state_dict())
    model = load_pose_model(file)
    assert model.sizes.size == (64, 48)
    pixels = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), Pool("cpu").lease(model.loadable) as net:
        expected = twin(pixels, dataset_index=torch.zeros(2, dtype=torch.long)).heatmaps
        assert (net(pixels) - expected).abs().max() < 1e-5
    assert expected.shape == (2, 17, 16, 12) and expected.std() > 0.05


def test_views_and_joints_equal_transformers() -> None:
    image = np.random.default_rng(0).random((90, 70, 3), dtype=np.float32)
    box, size = (12.0, 8.0, 30.0, 71.0), (64, 48)
    frame = decode.frame_of(box, size)
    center, scale = theirs.box_to_center_and_scale(box, image_width=48, image_height=64)
    assert [frame.x, frame.y, frame.width, frame.height] == pytest.approx([*center, *(scale * 200)], rel=1e-6)
    matrix = theirs.get_warp_matrix(0, center * 2.0, np.array((48, 64)) - 1.0, scale * 200.0)
    assert np.abs(decode.seen(image, frame, size) - theirs.scipy_warp_affine(image, matrix, size)).max() < 1e-4

    rows, columns = np.mgrid[:16, :12]
    rng = np.random.default_rng(1)
    middles = np.stack([rng.uniform(1, 10, 17), rng.uniform(1, 14, 17)], axis=1)
    heat = np.stack([0.9 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) for x, y in middles]).astype(np.float32)
    places, sure = theirs.get_keypoint_predictions(heat[None])
    places = theirs.post_dark_unbiased_data_processing(places, heat[None], kernel=11)
    expected = theirs.transform_preds(places[0], center=center, scale=scale, output_size=[16, 12])
    found = decode.joints(heat, frame)
    assert np.abs(found[:, :2] - expected).max() < 1e-3 and found[:, 2] == pytest.approx(sure[0, :, 0])
    back = (found[:, :2] - [frame.x - frame.width / 2, frame.y - frame.height / 2]) / [frame.width / 11, frame.height / 15]
    assert np.abs(back - middles).max() < 0.3
    assert np.isfinite(decode.joints(np.zeros((17, 16, 12), np.float32), frame)).all()


def test_skeletons_are_those_of_openpose() -> None:
    person = np.zeros((17, 3), np.float32)
    person[:, 2] = 0.1
    person[5], person[6], person[8] = (160, 50, 0.9), (40, 50, 0.8), (40, 150, 0.9)  # left and right shoulder, right elbow
    points = skeleton.from_coco(person, 0.3)
    assert [i for i, point in enumerate(points) if point] == [1, 2, 3, 5]
    assert points[1] == (100, 50, pytest.approx(0.8)) and points[2] == (40, 50, pytest.approx(0.8))
    picture = (skeleton.draw([points], 200, 200) * 255).round().int()
    assert picture.shape == (200, 200, 3)
    for (x, y), colour in {
        (70, 50): (153, 0, 0), (130, 50): (153, 51, 0), (40, 100): (153, 102, 0), (100, 50): (255, 85, 0), (40, 50): (255, 170, 0),
        (40, 150): (255, 255, 0), (160, 50): (85, 255, 0), (100, 150): (0, 0, 0),
    }.items():  # fmt: skip
        assert tuple(picture[y, x].tolist()) == colour
    person[6, 2] = 0.1
    assert skeleton.from_coco(person, 0.3)[1] is None, "there is no neck without both shoulders"


def test_node(twins: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    folder = bench.folders.models / "clip_vision"
    folder.mkdir(parents=True)
    state = twins["learnt"].state_dict()
    save_safetensors(folder / "pose.safetensors", state)
    ctx = bench.context()
    model = pose.load_pose(ctx, name="pose.safetensors")

    def run(**given: Any) -> Any:
        inputs = {"boxes": "", "threshold": 0.0, "thickness": 1.0} | given
        return pose.pose_skeleton(
            ctx, image=torch.rand(2, 96, 80, 3, generator=torch.Generator().manual_seed(2)), pose_model=model, **inputs
        )

    whole = run()
    assert whole.image.shape == (2, 96, 80, 3) and whole.image.amax() == 1
    assert [len(each["people"]) for each in whole.pose_keypoint] == [1, 1]
    assert len(whole.pose_keypoint[0]["people"][0]["pose_keypoints_2d"]) == 54 and whole.pose_keypoint[0]["canvas_width"] == 80
    assert torch.equal(run(boxes="0, 0, 80, 96\n").image, whole.image)
    two = run(boxes="0 0 40 96\n40, 0, 40, 96")
    wired = run(bounding_boxes=[{"x": 0, "y": 0, "width": 40, "height": 96}, {"x": 40, "y": 0, "width": 40, "height": 96}])
    assert len(two.pose_keypoint[0]["people"]) == 2 and torch.equal(two.image, wired.image)
    nested = run(bounding_boxes=[[{"x": 0, "y": 0, "width": 40, "height": 96}, {"x": 40, "y": 0, "width": 40, "height": 96}]])
    assert torch.equal(nested.image, wired.image) and not run(bounding_boxes=[[]]).pose_keypoint[0]["people"]
    assert not run(threshold=1e9).image.any()
    for given, text in (
        ({"boxes": "1, 2, 3"}, "Box 1 of `boxes` is not four numbers"),
        ({"boxes": "0 0 9 9\n0 0 0 9"}, "Box 2 of `boxes` has no area"),
        ({"boxes": "0 0 nan 9"}, "Box 1 of `boxes` has no area"),
        ({"boxes": "0 0 9 9\n" * 300}, "`boxes` has 300 boxes"),
        ({"bounding_boxes": "nonsense"}, "something that is no box"),
        ({"bounding_boxes": [[], [], []]}, "boxes for 3 images, and 2 images"),
    ):
        with pytest.raises(BadInput, match=text):
            run(**given)

    save_safetensors(folder / "other.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(UnknownModel, match="no pose model that is known"):
        pose.load_pose(ctx, name="other.safetensors")
    save_safetensors(
        folder / "hands.safetensors", {**state, "head.conv.weight": torch.zeros(21, 256, 1, 1), "head.conv.bias": torch.zeros(21)}
    )
    with pytest.raises(UnknownModel, match="finds 21 joints, not 17"):
        pose.load_pose(ctx, name="hands.safetensors")
    save_safetensors(folder / "hurt.safetensors", {**state, "backbone.embeddings.position_embeddings": torch.zeros(1, 14, 128)})
    with pytest.raises(BadFile, match="position_embeddings has an unexpected shape"):
        pose.load_pose(ctx, name="hurt.safetensors")
