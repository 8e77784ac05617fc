from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps

from backend.engine.context import Context
from nodes import compositing, filters, image, image_transform, mask, morphology, rebatch
from tests.nodes.bench import Bench

CTX = Context("job", "7")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("width", "height", "expected"), [(10, 0, (10, 6)), (0, 3, (5, 3)), (7, 9, (7, 9)), (0, 0, (15, 9))])
def test_image_scale_keeps_the_aspect_where_a_side_is_0(width: int, height: int, expected: tuple[int, int]) -> None:
    out = image.image_scale(CTX, image=noise(1, 9, 15, 3), upscale_method="bilinear", width=width, height=height, crop="disabled")
    assert (out.shape[2], out.shape[1]) == expected


def test_image_scale_by_and_to_pixels() -> None:
    assert image.image_scale_by(CTX, image=noise(1, 10, 21, 3), upscale_method="area", scale_by=1.5).shape == (1, 15, 32, 3)
    assert image.image_scale_by(CTX, image=noise(1, 10, 21, 3), upscale_method="area", scale_by=0.01).shape == (1, 1, 1, 3)
    out = filters.image_scale_to_total_pixels(CTX, image=noise(1, 30, 120, 3), upscale_method="area", megapixels=0.01)
    assert out.shape == (1, 51, 205, 3)  # 0.01 * 1024 * 1024 pixels at 4 : 1
    out = image_transform.image_scale_to_max_dimension(CTX, image=noise(1, 10, 30, 3), upscale_method="lanczos", largest_size=15)
    assert out.shape == (1, 5, 15, 3)


def test_image_batch_and_invert() -> None:
    a, b = noise(2, 4, 4, 3), noise(1, 8, 4, 3, seed=1)
    out = image.image_batch(CTX, image1=a, image2=b)
    assert out.shape == (3, 4, 4, 3) and torch.equal(out[:2], a)
    assert torch.allclose(image.image_invert(CTX, image=a), torch.ones(()) - a)


def test_empty_image() -> None:
    out = image.empty_image(CTX, width=5, height=3, batch_size=2, color=0x336699)
    assert out.shape == (2, 3, 5, 3) and torch.allclose(out[1, 2, 4], torch.tensor([0x33, 0x66, 0x99]) / 255)


def test_crop_repeat_and_take() -> None:
    picture = noise(3, 6, 8, 3)
    assert torch.equal(image_transform.image_crop(CTX, image=picture, width=3, height=99, x=2, y=1), picture[:, 1:, 2:5])
    assert image_transform.image_crop(CTX, image=picture, width=3, height=3, x=99, y=99).shape == (3, 1, 1, 3)
    assert torch.equal(image_transform.repeat_image_batch(CTX, image=picture, amount=2), torch.cat([picture, picture]))
    assert torch.equal(image_transform.image_from_batch(CTX, image=picture, batch_index=1, length=9), picture[1:])
    assert torch.equal(image_transform.image_from_batch(CTX, image=picture, batch_index=99, length=1), picture[2:])


def test_noise_is_seeded_and_bounded() -> None:
    picture = torch.full((1, 40, 40, 3), 0.5)
    a, b = (image_transform.image_add_noise(CTX, image=picture, seed=s, strength=0.1) for s in (1, 1))
    assert torch.equal(a, b) and abs(float((a - picture).std()) - 0.1) < 0.01
    assert not torch.equal(a, image_transform.image_add_noise(CTX, image=picture, seed=2, strength=0.1))
    expected = (picture + 0.1 * torch.randn(picture.shape, generator=torch.manual_seed(1))).clamp(0, 1)
    assert torch.equal(a, expected)


@pytest.mark.parametrize(("turn", "angle"), [("none", 0), ("90 degrees", -90), ("180 degrees", 180), ("270 degrees", 90)])
def test_rotation_is_clockwise(turn: str, angle: int) -> None:
    pixels = (noise(4, 6, 3) * 255).byte()
    expected = np.asarray(Image.fromarray(pixels.numpy()).rotate(angle, expand=True))
    out = image_transform.image_rotate(CTX, image=pixels.unsqueeze(0), rotation=turn)
    assert np.array_equal(out[0].numpy(), expected)


def test_flip() -> None:
    pixels = (noise(4, 6, 3) * 255).byte()
    picture = Image.fromarray(pixels.numpy())
    for method, expected in (("x-axis: vertically", ImageOps.flip(picture)), ("y-axis: horizontally", ImageOps.mirror(picture))):
        out = image_transform.image_flip(CTX, image=pixels.unsqueeze(0), flip_method=method)
        assert np.array_equal(out[0].numpy(), np.asarray(expected))


def stitch(first: torch.Tensor, second: torch.Tensor | None, direction: str, match: bool, gap: int, colour: str) -> torch.Tensor:
    out: torch.Tensor = image_transform.image_stitch(
        CTX, image1=first, image2=second, direction=direction, match_image_size=match, spacing_width=gap, spacing_color=colour
    )
    return out


def test_stitch_side_by_side_with_a_gap() -> None:
    a, b = noise(1, 4, 6, 3), noise(2, 4, 5, 3, seed=1)
    out = stitch(a, b, "right", False, 3, "red")
    assert out.shape == (2, 4, 6 + 4 + 5, 3)
    assert torch.equal(out[1, :, :6], a[0]) and torch.equal(out[:, :, 10:], b)
    assert torch.equal(out[:, :, 6:10], torch.tensor([1.0, 0, 0]).expand(2, 4, 4, 3))
    assert torch.equal(stitch(a, b, "left", False, 0, "white"), torch.cat([b, a.expand(2, -1, -1, -1)], dim=2))


def test_stitch_pads_or_matches_other_sizes() -> None:
    a, b = noise(1, 8, 6, 3), noise(1, 4, 5, 3, seed=1)
    padded = stitch(a, b, "right", False, 0, "blue")
    assert padded.shape == (1, 8, 11, 3) and torch.equal(padded[:, 2:6, 6:], b)
    assert torch.equal(padded[:, 0, 6:], torch.tensor([0.0, 0, 1]).expand(1, 5, 3))
    assert stitch(a, b, "down", True, 0, "white").shape == (1, 8 + 4, 6, 3)  # 5 x 4 becomes 6 x 4
    assert stitch(a, None, "up", True, 0, "white") is a


def test_resize_and_pad() -> None:
    out = image_transform.resize_and_pad_image(
        CTX, image=torch.full((1, 10, 20, 3), 0.3), target_width=10, target_height=10, padding_color="white", interpolation="area"
    )
    assert torch.allclose(out[0, 2:7], torch.tensor(0.3)) and torch.equal(out[0, :2], torch.ones(2, 10, 3))
    assert torch.equal(out[0, 7:], torch.ones(3, 10, 3))


def test_image_size_is_also_said_on_the_node(tmp_path) -> None:  # type: ignore[no-untyped-def]
    bench = Bench(tmp_path)
    assert image_transform.get_image_size(bench.context(), image=noise(2, 3, 5, 3)) == (5, 3, 2)
    assert bench.texts() == ["width: 5, height: 3, batch size: 2"]


def test_pad_for_outpaint_gives_both() -> None:
    picture, new = image.image_pad_for_outpaint(CTX, image=noise(1, 40, 40, 3), left=8, top=0, right=0, bottom=0, feathering=0)
    assert picture.shape == (1, 40, 48, 3) and torch.equal(new[0, :, :8], torch.ones(40, 8)) and not new[0, :, 8:].any()


def test_image_and_mask_conversions() -> None:
    picture = noise(2, 3, 4, 4)
    for i, channel in enumerate(("red", "green", "blue", "alpha")):
        assert torch.equal(mask.image_to_mask(CTX, image=picture, channel=channel), picture[..., i])
    assert torch.equal(mask.image_to_mask(CTX, image=picture[..., :3], channel="alpha"), torch.ones(2, 3, 4))
    back = mask.mask_to_image(CTX, mask=picture[..., 0])
    assert back.shape == (2, 3, 4, 3) and torch.equal(back[..., 2], picture[..., 0])


def test_mask_nodes() -> None:
    m = noise(1, 6, 8)
    assert torch.equal(mask.invert_mask(CTX, mask=m), 1 - m)
    assert torch.equal(mask.solid_mask(CTX, value=0.25, width=3, height=2), torch.full((1, 2, 3), 0.25))
    assert torch.equal(mask.crop_mask(CTX, mask=m, x=2, y=1, width=3, height=2), m[:, 1:3, 2:5])
    assert torch.equal(mask.threshold_mask(CTX, mask=m, value=0.5), (m > 0.5).float())
    assert mask.grow_mask(CTX, mask=m, expand=2, tapered_corners=False).max() == m.max()
    assert torch.equal(mask.feather_mask(CTX, mask=m, left=0, top=0, right=0, bottom=0), m)
    assert torch.equal(mask.mask_composite(CTX, destination=m, source=m, x=0, y=0, operation="subtract"), torch.zeros(1, 6, 8))


def test_composites() -> None:
    out = mask.image_composite_masked(
        CTX, destination=torch.zeros(1, 4, 4, 3), source=torch.ones(1, 2, 2, 3), x=1, y=2, resize_source=False
    )
    assert float(out.sum()) == 12 and torch.equal(out[0, 2:, 1:3], torch.ones(2, 2, 3))
    latent = {"samples": torch.zeros(1, 4, 8, 8), "type": "kept"}
    merged = mask.latent_composite_masked(
        CTX,
        destination=latent,
        source={"samples": torch.ones(1, 4, 2, 2)},
        x=16,
        y=0,
        resize_source=False,
        mask=torch.full((1, 16, 16), 0.5),
    )
    assert torch.equal(merged["samples"][..., :2, 2:4], torch.full((1, 4, 2, 2), 0.5)) and merged["type"] == "kept"
    assert not latent["samples"].any()


def test_blend_keeps_the_first_image_at_0() -> None:
    a, b = noise(1, 4, 4, 3), noise(1, 8, 8, 3, seed=1)
    assert torch.equal(filters.image_blend(CTX, image1=a, image2=b, blend_factor=0.0, blend_mode="multiply"), a)
    half = filters.image_blend(CTX, image1=a, image2=a, blend_factor=0.5, blend_mode="multiply")
    assert torch.allclose(half, (a + a * a) / 2)


def test_blur_and_sharpen_change_contrast_in_opposite_ways() -> None:
    picture = noise(1, 20, 20, 3) * 0.4 + 0.3
    soft = filters.image_blur(CTX, image=picture, blur_radius=2, sigma=1.0)
    hard = filters.image_sharpen(CTX, image=picture, sharpen_radius=2, sigma=1.0, alpha=0.05)
    assert soft.std() < picture.std() < hard.std()
    assert torch.allclose(filters.image_blur(CTX, image=picture, blur_radius=1, sigma=0.1), picture, atol=1e-4)  # a very narrow Gaussian


def test_quantise_limits_colours_of_each_image() -> None:
    out = filters.image_quantize(CTX, image=noise(2, 16, 16, 3), colors=5, dither="floyd-steinberg")
    assert out.shape == (2, 16, 16, 3)
    assert all(len(torch.unique(one.reshape(-1, 3), dim=0)) <= 5 for one in out)


def test_alpha_round_trip() -> None:
    picture, see_through = noise(1, 5, 6, 3), noise(1, 5, 6)
    joined = compositing.join_image_with_alpha(CTX, image=picture, alpha=see_through)
    assert torch.equal(joined[..., :3], picture) and torch.allclose(joined[..., 3], 1 - see_through)
    split = compositing.split_image_with_alpha(CTX, image=joined)
    assert torch.equal(split.IMAGE, picture) and torch.allclose(split.MASK, see_through)
    assert not compositing.split_image_with_alpha(CTX, image=picture).MASK.any()


def test_porter_duff_over() -> None:
    top, bottom = noise(1, 4, 4, 3), noise(1, 4, 4, 3, seed=1)
    covered, open_ = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)  # masks here: 1 is see-through

    def over(see_through: torch.Tensor):  # type: ignore[no-untyped-def]
        return compositing.porter_duff_image_composite(
            CTX, source=top, source_alpha=see_through, destination=bottom, destination_alpha=covered, mode="SRC_OVER"
        )

    assert torch.allclose(over(covered).IMAGE, top) and torch.allclose(over(open_).IMAGE, bottom)
    assert torch.allclose(over(open_ * 0.5).IMAGE, (top + bottom) / 2) and not over(open_).MASK.any()


def test_morphology_against_pillow() -> None:
    pixels = (noise(12, 14) * 255).byte()
    expected = np.asarray(Image.fromarray(pixels.numpy()).filter(ImageFilter.MaxFilter(5)))
    picture = (pixels.float() / 255)[None, ..., None].expand(-1, -1, -1, 3)
    out = morphology.morphology(CTX, image=picture, operation="dilate", kernel_size=5)[0, ..., 0]
    assert np.allclose((out * 255).round().numpy()[2:-2, 2:-2], expected[2:-2, 2:-2])


def test_yuv_round_trip() -> None:
    picture = noise(1, 5, 6, 3)
    yuv = morphology.image_rgb_to_yuv(CTX, image=picture)
    assert [c.shape for c in yuv] == [(1, 5, 6, 3)] * 3
    assert torch.allclose(morphology.image_yuv_to_rgb(CTX, Y=yuv.Y, U=yuv.U, V=yuv.V), picture, atol=1e-5)


def test_rebatch_images() -> None:
    small, large = noise(3, 4, 4, 3), noise(2, 8, 8, 3)
    out = rebatch.rebatch_images(CTX, images=[small, small[:1], large], batch_size=[3])
    assert [tuple(b.shape[:2]) for b in out] == [(3, 4), (1, 4), (2, 8)]
    assert torch.equal(torch.cat(out[:2]), torch.cat([small, small[:1]]))


def test_rebatch_latents_keeps_masks_and_noise_numbers() -> None:
    first = {"samples": noise(3, 4, 2, 2), "noise_mask": torch.tensor([0.0, 1.0, 0.5]).reshape(3, 1, 1, 1)}
    second = {"samples": noise(1, 4, 2, 2, seed=1), "batch_index": [9]}
    out = rebatch.rebatch_latents(CTX, latents=[first, second], batch_size=[2])
    assert [o["samples"].shape[0] for o in out] == [2, 2]
    assert [o["batch_index"] for o in out] == [[0, 1], [2, 9]]
    assert out[1]["noise_mask"].shape == (2, 1, 16, 16)
    assert out[1]["noise_mask"][:, 0, 0, 0].tolist() == [0.5, 1.0]
