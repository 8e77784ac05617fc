from __future__ import annotations

import asyncio
import io
import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.base.config import Settings
from backend.base.errors import BadFile, BadInput, Interrupted, MissingFile, Refused
from backend.graph.choices import FolderChoices
from backend.media import deep
from backend.weights.safetensors import SafetensorsFile
from backend.workflow.metadata import read
from nodes import animation, image_files, image_save, latent_files, websocket
from tests.nodes.bench import Bench

PROMPT = {"7": {"class_type": "SaveImage", "inputs": {"filename_prefix": "é"}}}
EXTRA = {"workflow": {"nodes": [], "links": [], "name": "Zürich"}}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def save(bench: Bench, images: torch.Tensor, prefix: str) -> list[dict[str, Any]]:
    ctx = bench.context(PROMPT, EXTRA)
    asyncio.run(image_files.save_image(ctx, images=images, filename_prefix=prefix))
    return ctx.shown["images"]


def test_names_count_on_and_carry_the_workflow(bench: Bench) -> None:
    images = noise(2, 6, 9, 3)
    first, second = save(bench, images, "portraits/anna"), save(bench, images[:1], "portraits/anna")
    assert [i["filename"] for i in first] == ["anna_00001_.png", "anna_00002_.png"]
    assert second == [{"filename": "anna_00003_.png", "subfolder": "portraits", "type": "output"}]
    with Image.open(bench.folders.output / "portraits" / "anna_00002_.png") as picture:
        assert json.loads(picture.text["prompt"]) == PROMPT and json.loads(picture.text["workflow"]) == EXTRA["workflow"]
        assert np.array_equal(np.asarray(picture), (images[1] * 255).round().byte().numpy())
    assert not list(bench.folders.output.rglob("*.part"))


def test_strange_images_are_saved_and_said(bench: Bench) -> None:
    item = save(bench, torch.full((4, 6, 3), float("nan")), "nan")[0]
    with Image.open(bench.folders.output / item["filename"]) as picture:
        assert picture.size == (6, 4) and picture.getextrema() == ((0, 0),) * 3
    assert "NaN" in bench.texts()[0]


def test_name_patterns(bench: Bench) -> None:
    names = [i["filename"] for i in save(bench, noise(2, 6, 9, 3), "a%width%x%height%-%batch_num%")]
    assert names == ["a9x6-0_00001_.png", "a9x6-1_00002_.png"]


def test_prefix_must_stay_inside(bench: Bench) -> None:
    for prefix in ("../out", "/etc/x", "a/../../b"):
        with pytest.raises(Refused):
            save(bench, noise(1, 2, 2, 3), prefix)
    assert not list(bench.folders.output.rglob("*.png")) and not list(bench.folders.base.glob("*.png"))


@pytest.mark.parametrize(("amount", "kept"), [("full", {"prompt", "workflow"}), ("minimal", {"prompt"}), ("none", set())])
def test_how_much_a_file_carries(tmp_path: Path, amount: Any, kept: set[str]) -> None:
    bench = Bench(tmp_path, Settings(metadata=amount))
    item = save(bench, noise(1, 2, 2, 3), "a")[0]
    with Image.open(bench.folders.output / item["filename"]) as picture:
        assert picture.text.keys() == kept


def test_cancel_between_images(bench: Bench) -> None:
    bench.cancelled = lambda: True
    with pytest.raises(Interrupted):
        save(bench, noise(3, 2, 2, 3), "a")


def test_preview_goes_to_temp_under_a_new_name(bench: Bench) -> None:
    ctx = bench.context(PROMPT)
    asyncio.run(image_files.preview_image(ctx, images=noise(1, 4, 4, 3)))
    asyncio.run(image_files.preview_image(ctx, images=noise(1, 4, 4, 3)))
    one, two = ctx.shown["images"]
    assert one["type"] == "temp" and one["filename"].startswith("ComfyUI_temp_") and one["filename"] != two["filename"]
    assert (bench.folders.temp / two["filename"]).is_file()


def test_mask_preview_is_grey(bench: Bench) -> None:
    ctx, mask = bench.context(), noise(4, 6)
    image_files.mask_preview(ctx, mask=mask)
    with Image.open(bench.folders.temp / ctx.shown["images"][0]["filename"]) as picture:
        assert np.array_equal(np.asarray(picture)[..., 1], (mask * 255).round().byte().numpy())


def put(bench: Bench, name: str, seed: int = 0, where: str = "input") -> np.ndarray:
    data = np.random.default_rng(seed).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    path = bench.folders.directory(where) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data).save(path)
    return data


def test_load_image(bench: Bench) -> None:
    data = put(bench, "sub/a.png")
    image, mask = image_files.load_image(bench.context(), image="sub/a.png")
    assert torch.equal(image[0], torch.from_numpy(data[..., :3]).float() / 255)
    assert torch.equal(mask[0], 1 - torch.from_numpy(data[..., 3]).float() / 255)
    blue = image_files.load_image_mask(bench.context(), image="sub/a.png", channel="blue")
    assert torch.equal(blue[0], torch.from_numpy(data[..., 2]).float() / 255)


def test_annotated_names_and_outputs(bench: Bench) -> None:
    put(bench, "o.png", where="output")
    assert image_files.load_image(bench.context(), image="o.png [output]").IMAGE.shape == (1, 5, 7, 3)
    assert image_files.load_image_output(bench.context(), image="o.png [output]").IMAGE.shape == (1, 5, 7, 3)
    assert image_files.load_image_output(bench.context(), image="o.png").IMAGE.shape == (1, 5, 7, 3)


@pytest.mark.parametrize(("name", "error"), [("none.png", MissingFile), ("../../etc/passwd", Refused), ("text.png", BadFile)])
def test_load_image_says_what_is_wrong_with_which_input(bench: Bench, name: str, error: type[Exception]) -> None:
    (bench.folders.input / "text.png").write_text("hello")
    with pytest.raises(error) as raised:
        image_files.load_image(bench.context(), image=name)
    assert raised.value.where.input == "image" and raised.value.where.node == "7"  # type: ignore[attr-defined]


def test_a_changed_file_has_another_fingerprint(bench: Bench) -> None:
    fingerprint = image_files.load_image.node_type.fingerprint
    put(bench, "a.png")
    before = fingerprint(bench.context(), image="a.png")
    assert before == fingerprint(bench.context(), image="a.png")
    put(bench, "a.png", seed=1)
    assert fingerprint(bench.context(), image="a.png") != before
    assert fingerprint(bench.context(), image=None) is None  # linked: not known yet


def test_choices_are_the_files_of_the_input_directory(bench: Bench) -> None:
    put(bench, "b.png")
    put(bench, "a.webp")
    (bench.folders.input / "notes.txt").write_text("x")
    (bench.folders.input / "l.latent").write_text("x")
    choices = FolderChoices(bench.folders)
    assert choices(image_files.load_image.node_type.by_name["image"].kind) == ["a.webp", "b.png"]
    assert choices(latent_files.load_latent.node_type.by_name["latent"].kind) == ["l.latent"]


def test_animated_webp(bench: Bench) -> None:
    images, ctx = noise(3, 8, 10, 3), bench.context(PROMPT, EXTRA)
    animation.save_animated_webp(ctx, images=images, filename_prefix="w", fps=8.0, lossless=True, quality=80, method="fastest")
    assert ctx.shown["animated"] == [True]
    with Image.open(bench.folders.output / ctx.shown["images"][0]["filename"]) as picture:
        assert picture.n_frames == 3
        for i in range(3):
            picture.seek(i)
            assert np.array_equal(np.asarray(picture.convert("RGB")), (images[i] * 255).round().byte().numpy())
        assert picture.info["duration"] == 125
        exif = picture.getexif()
    assert json.loads(exif[0x0110].split(":", 1)[1]) == PROMPT and exif[0x010F].startswith("workflow:")


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    return found


def test_animated_png(bench: Bench) -> None:
    images, ctx = noise(2, 8, 10, 3), bench.context(PROMPT, EXTRA)
    animation.save_animated_png(ctx, images=images, filename_prefix="p", fps=5.0, compress_level=1)
    path = bench.folders.output / ctx.shown["images"][0]["filename"]
    parts = chunks(path.read_bytes())
    kinds = [k for k, _ in parts]
    texts = dict(body.split(b"\0", 1) for kind, body in parts if kind == b"comf")
    assert json.loads(texts[b"prompt"]) == PROMPT and json.loads(texts[b"workflow"]) == EXTRA["workflow"]
    assert kinds.index(b"comf") > kinds.index(b"IDAT")
    with Image.open(path) as picture:
        assert picture.n_frames == 2
        picture.seek(1)
        assert np.array_equal(np.asarray(picture.convert("RGB")), (images[1] * 255).round().byte().numpy())
        assert picture.info["duration"] == 200


def test_svg_carries_metadata(bench: Bench) -> None:
    drawing = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="4"><rect/></svg>'
    ctx = bench.context(PROMPT, {"workflow": {"title": "a ]]> b"}})
    animation.save_svg(ctx, svg=SimpleNamespace(data=[io.BytesIO(drawing.encode()), io.BytesIO(drawing.encode())]), filename_prefix="svg/d")
    assert [i["filename"] for i in ctx.shown["images"]] == ["d_00001_.svg", "d_00002_.svg"]
    import xml.etree.ElementTree as tree

    root = tree.parse(bench.folders.output / "svg" / "d_00002_.svg").getroot()
    assert json.loads(root[0].text or "") == {"prompt": PROMPT, "workflow": {"title": "a ]]> b"}}
    assert root[1].tag.endswith("rect")
    with pytest.raises(BadInput, match="not a drawing"):
        animation.save_svg(ctx, svg="<svg/>", filename_prefix="x")


def test_latent_round_trip(bench: Bench) -> None:
    latent = torch.randn(1, 4, 3, 5)
    ctx = bench.context(PROMPT, EXTRA)
    latent_files.save_latent(ctx, samples={"samples": latent.transpose(-1, -2)}, filename_prefix="latents/x")
    item = ctx.shown["latents"][0]
    assert item == {"filename": "x_00001_.latent", "subfolder": "latents", "type": "output"}
    path = bench.folders.output / "latents" / "x_00001_.latent"
    file = SafetensorsFile(path)
    assert set(file) == {"latent_tensor", "latent_format_version_0"} and json.loads(file.metadata["prompt"]) == PROMPT
    loaded = latent_files.load_latent(bench.context(), latent="latents/x_00001_.latent [output]")["samples"]
    assert torch.equal(loaded, latent.transpose(-1, -2))


def test_latents_without_version_are_unscaled(bench: Bench) -> None:
    from backend.weights.save import save_safetensors

    save_safetensors(bench.folders.input / "old.latent", {"latent_tensor": torch.ones(1, 4, 2, 2)})
    loaded = latent_files.load_latent(bench.context(), latent="old.latent")["samples"]
    assert torch.allclose(loaded, torch.tensor(1 / 0.18215))
    save_safetensors(bench.folders.input / "wrong.latent", {"weights": torch.ones(1)})
    with pytest.raises(BadFile, match="no latent") as error:
        latent_files.load_latent(bench.context(), latent="wrong.latent")
    assert error.value.where.input == "latent"


def test_pictures_for_the_websocket_are_whole_and_new_each_time(bench: Bench) -> None:
    images = noise(2, 600, 20, 3)
    websocket.save_image_websocket(bench.context(), images=images)
    first, second = bench.steps()
    assert (first.value, second.value, second.total) == (1, 2, 2) and second.preview is not None
    kind, data = second.preview.encode()
    assert kind == "png" and np.array_equal(np.asarray(Image.open(io.BytesIO(data))), (images[1] * 255).round().byte().numpy())
    fingerprint = websocket.save_image_websocket.node_type.fingerprint
    assert fingerprint(bench.context()) != fingerprint(bench.context()) and not list(bench.folders.output.iterdir())


@pytest.mark.parametrize(("format", "options", "worst"), [  # noise has more colour than lossy formats keep
    ("png", {}, 0.002), ("webp (lossless)", {}, 0.002), ("webp", {"format.quality": 100}, 0.2), ("jpeg", {"format.quality": 100}, 0.2),
])  # fmt: skip
def test_formats(bench: Bench, format: str, options: dict[str, Any], worst: float) -> None:
    images, ctx = noise(2, 6, 9, 3), bench.context(PROMPT, EXTRA)
    assert image_save.save_image_advanced(ctx, images=images, filename_prefix="a", format=format, **options) is images
    path = bench.folders.output / ctx.shown["images"][1]["filename"]
    with Image.open(path) as picture:
        assert np.abs(np.asarray(picture) / 255 - images[1].numpy()).mean() < worst
    kept = read(path)
    assert kept.prompt == PROMPT and kept.workflow == EXTRA["workflow"]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_formats(bench: Bench, channels: int) -> None:
    import av

    image, ctx = noise(1, 5, 7, channels) * 3 - 1, bench.context(PROMPT, EXTRA)
    image_save.save_image_advanced(ctx, images=image, format="png", **{"format.bit_depth": "16-bit"})
    image_save.save_image_advanced(ctx, images=image, format="exr", **{"format.color_space": "sRGB"})
    for item, scale, expected in zip(ctx.shown["images"], (65535, 1), (image.clamp(0, 1), image), strict=True):
        with av.open(str(bench.folders.output / item["filename"])) as file:
            found = next(file.decode(video=0)).to_ndarray().astype(np.float32) / scale
        assert np.abs(found.reshape(5, 7, channels) - expected[0].numpy()).max() < 1e-5
    assert read(bench.folders.output / ctx.shown["images"][0]["filename"]).prompt == PROMPT
    grey = deep.linear(torch.tensor([0.0, 0.04045, 0.5, 1.0]).reshape(1, 4, 1).expand(1, 4, 3))
    assert grey[0, :, 0].tolist() == pytest.approx([0, 0.0031308, 0.2140411, 1], abs=1e-6)


def test_one_save_may_carry_less(bench: Bench) -> None:
    ctx = bench.context(PROMPT, EXTRA)
    for amount in ("none", "minimal"):
        image_save.save_image_advanced(ctx, images=noise(1, 4, 4, 4), filename_prefix=amount, format="png", metadata=amount)
    bare, short = (bench.folders.output / item["filename"] for item in ctx.shown["images"])
    assert read(short).prompt == PROMPT and read(short).workflow is None
    with pytest.raises(BadFile, match="without a workflow"):
        read(bare)
    long = bench.context({"1": {"class_type": "A", "inputs": {"text": "x" * 70_000}}})
    image_save.save_image_advanced(long, images=noise(1, 4, 4, 3), format="jpeg")
    assert "too long for a JPEG" in bench.texts()[-1]
    for wrong in ({"format": "bmp"}, {"format": "jpeg", "format.quality": 101}, {"format": "png", "format.bit_depth": "7-bit"}):
        with pytest.raises(BadInput):
            image_save.save_image_advanced(ctx, images=noise(1, 4, 4, 3), **wrong)
