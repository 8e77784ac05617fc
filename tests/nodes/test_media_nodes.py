"""Sound and film nodes, and the nodes that decide: run as a graph runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from backend.base.errors import BadInput
from backend.workflow.metadata import read
from nodes import audio, captured, logic, resize_any, video
from nodes import mesh as mesh_nodes
from tests.nodes.bench import Bench

GRAPH = {"1": {"class_type": "SaveAudio", "inputs": {}}}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_film_is_saved_loaded_and_taken_apart(bench: Bench) -> None:
    ctx = bench.context(prompt={"1": {"class_type": "SaveVideo", "inputs": {}}}, extra={"workflow": {"nodes": []}})
    images, tone = torch.rand(6, 32, 48, 3), audio.empty_audio(ctx, duration=0.5)
    film = video.create_video(ctx, images=images, fps=12.0, audio=tone)
    video.save_video(ctx, video=film, filename_prefix="video/a")
    video.save_webm(ctx, images=images, filename_prefix="b", codec="vp9", fps=12.0, crf=40.0)
    path = bench.folders.output / "video" / "a_00001_.mp4"
    assert read(path).prompt == {"1": {"class_type": "SaveVideo", "inputs": {}}}
    assert read(bench.folders.output / "b_00001_.webm").workflow == {"nodes": []}
    found = video.load_video(ctx, file="video/a_00001_.mp4 [output]")
    parts = video.get_video_components(ctx, video=found)
    assert parts.images.shape == images.shape and parts.fps == 12.0 and parts.audio["waveform"].shape[1] == 2
    assert len(video.get_video_components(ctx, video=video.video_slice(ctx, video=found, duration=0.25)).images) == 3
    with pytest.raises(BadInput, match="only"):
        video.video_slice(ctx, video=found, duration=9.0, strict_duration=True)


def test_sound_is_saved_loaded_and_cut(bench: Bench) -> None:
    ctx = bench.context(prompt=GRAPH)
    tone = {"waveform": torch.rand(1, 2, 24000) * 0.1, "sample_rate": 48000}
    audio.save_audio(ctx, audio=tone, filename_prefix="a")
    audio.save_audio_advanced(ctx, audio=tone, filename_prefix="a", format="mp3", **{"format.quality": "128k"})
    audio.preview_audio(ctx, audio=tone)
    assert sorted(p.name for p in bench.folders.output.iterdir()) == ["a_00001_.flac", "a_00002_.mp3"]
    assert read(bench.folders.output / "a_00001_.flac").prompt == GRAPH
    back = audio.load_audio(ctx, audio="a_00001_.flac [output]")
    assert (back["waveform"] - tone["waveform"]).abs().max() < 1e-4
    assert audio.trim_audio_duration(ctx, audio=back, start_index=-0.25, duration=9.0)["waveform"].shape[-1] == 12000
    left, right = audio.split_audio_channels(ctx, audio=back)
    both = audio.audio_concat(ctx, audio1=left, audio2=right)
    assert torch.equal(both["waveform"][..., 24000:], back["waveform"][:, 1:])
    assert torch.allclose(audio.audio_adjust_volume(ctx, audio=left, volume=20)["waveform"], left["waveform"] * 10)
    assert torch.allclose(audio.audio_merge(ctx, audio1=left, audio2=left, merge_method="mean")["waveform"], left["waveform"])
    with pytest.raises(BadInput, match="nothing is left"):
        audio.trim_audio_duration(ctx, audio=back, start_index=3.0)
    with pytest.raises(BadInput, match="quality"):
        audio.save_audio_advanced(ctx, audio=tone, format="opus", **{"format.quality": "9k"})


def test_switch_asks_for_one_side_only(bench: Bench) -> None:
    status = logic.switch_node.node_type.lazy_status
    assert status(bench.context(), switch=True) == ["on_true"] and status(bench.context(), switch=False) == ["on_false"]
    assert logic.switch_node(bench.context(), switch=True, on_true="yes", on_false=None) == "yes"
    with pytest.raises(BadInput, match="nothing is connected"):
        logic.switch_node(bench.context(), switch=False, on_true="yes")


def test_numbers_and_lists(bench: Bench) -> None:
    ctx = bench.context()
    assert logic.math_expression(ctx, expression="a * 2 + b", **{"values.a": 1.5, "values.b": True, "values.c": None}) == (4.0, 4, True)
    with pytest.raises(BadInput, match="not a number"):
        logic.math_expression(ctx, expression="a", **{"values.a": "1"})
    assert logic.number_convert(ctx, value=" 2.6 ") == (2.6, 2)
    with pytest.raises(BadInput, match="is no number"):
        logic.number_convert(ctx, value="two")
    assert logic.custom_combo(ctx, choice="b", index=0, option1="a", option2="b", option10="c") == ("b", 1)
    text = 'Sure: {"x": {"prompt": "a cat"}, "n": [1]}'
    assert logic.json_extract_string(ctx, json_string=text, key="prompt") == "a cat"
    assert logic.json_extract_string(ctx, json_string=text, key="n") == "[1]"
    assert logic.json_extract_string(ctx, json_string="{" * 999, key="n") == ""
    made = logic.create_list(ctx, **{"inputs.input0": 1, "inputs.input1": None, "inputs.input2": "z"})
    assert logic.get_item_from_list(ctx, list=made, index=-1) == "z"
    with pytest.raises(BadInput, match="2 values"):
        logic.get_item_from_list(ctx, list=made, index=2)
    assert logic.resolution_selector(ctx, aspect_ratio="16:9 (Widescreen)", megapixels=1.0, multiple=32) == (1376, 768)


@pytest.mark.parametrize(("way", "options", "size"), [
    ("scale dimensions", {"resize_type.width": 10, "resize_type.height": 0}, (10, 5)),
    ("scale dimensions", {"resize_type.width": 10, "resize_type.height": 10, "resize_type.crop": "center"}, (10, 10)),
    ("scale by multiplier", {"resize_type.multiplier": 0.5}, (10, 5)),
    ("scale longer dimension", {"resize_type.longer_size": 40}, (40, 20)),
    ("scale shorter dimension", {"resize_type.shorter_size": 40}, (80, 40)), ("scale width", {"resize_type.width": 5}, (5, 2)),
    ("scale total pixels", {"resize_type.megapixels": 200 * 4 / 1024**2}, (40, 20)),
])  # fmt: skip
def test_resizes_images_and_masks(bench: Bench, way: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    for given in (torch.rand(2, 10, 20, 3), torch.rand(2, 10, 20)):
        made = resize_any.resize_image_mask(bench.context(), input=given, resize_type=way, scale_method="area", **options)
        assert made.shape == (2, size[1], size[0], *given.shape[3:])


def test_batches_and_boxes(bench: Bench) -> None:
    ctx = bench.context()
    batch = resize_any.batch_images(
        ctx, **{"images.image0": torch.rand(1, 4, 6, 3), "images.image1": torch.rand(2, 8, 8, 3), "images.image2": None}
    )
    assert batch.shape == (3, 4, 6, 3)
    assert resize_any.image_crop_v2(ctx, image=batch, crop_region={"x": 2, "y": 1, "width": 99, "height": 2}).shape == (3, 2, 4, 3)
    with pytest.raises(BadInput, match="looks like"):
        resize_any.image_crop_v2(ctx, image=batch, crop_region={"x": 2})
    resize_any.image_compare(ctx, image_a=batch)


def test_shapes_are_saved_and_shown(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    ctx = bench.context({"1": {"class_type": "SaveGLB", "inputs": {}}})
    grid = mesh_nodes.shapes.Voxel(torch.nn.functional.pad(torch.ones(2, 3, 3, 3), (2,) * 6))
    made = mesh_nodes.voxel_to_mesh(ctx, voxel=grid, algorithm="surface net", threshold=0.5)
    mesh_nodes.save_glb(ctx, mesh=made)
    assert [item["filename"] for item in ctx.shown["3d"]] == ["ComfyUI_00001_.glb", "ComfyUI_00002_.glb"]
    assert read(bench.folders.output / "mesh" / "ComfyUI_00002_.glb").prompt is not None
    mesh_nodes.preview_3d(ctx, model_file="mesh/a.glb", camera_info={"zoom": 1})
    assert ctx.shown["result"] == ["mesh/a.glb", {"zoom": 1}]


def test_pictures_from_browsers(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    ctx = bench.context()
    Image.new("RGBA", (6, 4), (255, 0, 0, 128)).save(bench.folders.input / "taken.png")
    assert captured.webcam_capture(ctx, image="taken.png").shape == (1, 4, 6, 3)
    assert captured.webcam_capture(ctx, image="taken.png", width=12).shape == (1, 4, 12, 3)
    seen = {"image": "taken.png", "normal": "taken.png", "lineart": "taken.png", "camera_info": {"zoom": 2}}
    found = mesh_nodes.load_3d(ctx, model_file="3d/a.glb", image=seen)
    assert found.mesh_path == "3d/a.glb" and found.camera_info == {"zoom": 2} and found.mask.shape == (1, 4, 6)
    assert found.image.shape == found.lineart.shape and float(found.mask[0, 0, 0]) == pytest.approx(127 / 255)
    for call in (lambda: captured.webcam_capture(ctx, image=""), lambda: mesh_nodes.load_3d(ctx, model_file="a.glb", image="")):
        with pytest.raises(BadInput):
            call()


def test_frames_of_films(tmp_path: Path) -> None:
    ctx, image = Bench(tmp_path).context(), torch.rand(2, 9, 16, 3, generator=torch.Generator().manual_seed(0))
    assert captured.ltxv_preprocess(ctx, image=image, img_compression=0) is image
    little, much = (captured.ltxv_preprocess(ctx, image=image, img_compression=n) for n in (5, 45))
    assert little.shape == (2, 8, 16, 3)
    assert float((little - image[:, :8]).abs().mean()) < float((much - image[:, :8]).abs().mean())
