from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from backend.engine.context import Context
from nodes import conditioning, latent, latent_advanced

CTX = Context("job", "7")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def wire(*shape: int, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {"samples": noise(*shape, seed=seed), "other": "kept", **more}


def test_empty_latent() -> None:
    out = latent.empty_latent_image(CTX, width=520, height=264, batch_size=3)["samples"]
    assert out.shape == (3, 4, 33, 65) and not out.any()


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(128, 64, (16, 8)), (0, 128, (32, 16)), (128, 0, (16, 8)), (8, 8, (8, 8)), (0, 0, (16, 8))]
)
def test_latent_upscale(width: int, height: int, expected: tuple[int, int]) -> None:
    out = latent.latent_upscale(CTX, samples=wire(1, 4, 8, 16), upscale_method="bilinear", width=width, height=height, crop="disabled")
    assert (out["samples"].shape[-1], out["samples"].shape[-2]) == expected and out["other"] == "kept"


def test_latent_upscale_by() -> None:
    given = wire(1, 4, 8, 10)
    out = latent.latent_upscale_by(CTX, samples=given, upscale_method="nearest-exact", scale_by=1.5)["samples"]
    assert torch.equal(out, F.interpolate(given["samples"], size=(12, 15), mode="nearest-exact"))


@pytest.mark.parametrize("frames", [(), (3,)])
def test_rotate_flip_crop(frames: tuple[int, ...]) -> None:
    given = wire(1, 4, *frames, 8, 12)
    s = given["samples"]
    assert torch.equal(latent.latent_rotate(CTX, samples=given, rotation="90 degrees")["samples"], s.flip(-2).transpose(-1, -2))
    assert torch.equal(latent.latent_rotate(CTX, samples=given, rotation="180 degrees")["samples"], s.flip(-1, -2))
    assert torch.equal(latent.latent_flip(CTX, samples=given, flip_method="x-axis: vertically")["samples"], s.flip(-2))
    assert torch.equal(latent.latent_flip(CTX, samples=given, flip_method="y-axis: horizontally")["samples"], s.flip(-1))
    assert torch.equal(latent.latent_crop(CTX, samples=given, width=64, height=64, x=16, y=0)["samples"], s[..., :8, 2:10])
    assert torch.equal(latent.latent_crop(CTX, samples=given, width=64, height=64, x=9999, y=9999)["samples"], s[..., 4:12])


def test_blend_and_composite() -> None:
    a, b = wire(1, 4, 8, 8), wire(1, 4, 8, 8, seed=1)
    mixed = latent.latent_blend(CTX, samples1=a, samples2=b, blend_factor=0.25)["samples"]
    assert torch.allclose(mixed, a["samples"] * 0.25 + b["samples"] * 0.75)
    pasted = latent.latent_composite(CTX, samples_to=a, samples_from=b, x=32, y=16, feather=0)["samples"]
    assert torch.equal(pasted[..., 2:, 4:], b["samples"][..., :6, :4]) and torch.equal(pasted[..., :4], a["samples"][..., :4])


def test_noise_mask_shapes() -> None:
    for shape in ((16, 24), (1, 16, 24), (2, 16, 24)):
        out = latent.set_latent_noise_mask(CTX, samples=wire(1, 4, 2, 3), mask=torch.ones(shape))
        assert out["noise_mask"].shape == (shape[0] if len(shape) == 3 else 1, 1, 16, 24)


def test_batches() -> None:
    given = wire(4, 4, 2, 2)
    some = latent.latent_from_batch(CTX, samples=given, batch_index=2, length=9)
    assert torch.equal(some["samples"], given["samples"][2:]) and some["batch_index"] == [2, 3]
    assert latent.repeat_latent_batch(CTX, samples=some, amount=2)["batch_index"] == [2, 3, 4, 5]
    both = latent_advanced.latent_batch(CTX, samples1=some, samples2=wire(1, 4, 4, 4, seed=2))
    assert both["samples"].shape == (3, 4, 2, 2) and both["batch_index"] == [2, 3, 0]


def test_seed_behaviour() -> None:
    given = wire(3, 4, 2, 2, batch_index=[5, 6, 7])
    assert latent_advanced.latent_batch_seed_behavior(CTX, samples=given, seed_behavior="fixed")["batch_index"] == [5, 5, 5]
    assert "batch_index" not in latent_advanced.latent_batch_seed_behavior(CTX, samples=given, seed_behavior="random")
    assert given["batch_index"] == [5, 6, 7]


def test_arithmetic_aligns_the_second_latent() -> None:
    a, b = wire(2, 4, 4, 4), wire(1, 4, 8, 8, seed=1)
    other = F.interpolate(b["samples"], size=(4, 4), mode="bilinear").expand(2, -1, -1, -1)
    assert torch.equal(latent_advanced.latent_add(CTX, samples1=a, samples2=b)["samples"], a["samples"] + other)
    assert torch.equal(latent_advanced.latent_subtract(CTX, samples1=a, samples2=b)["samples"], a["samples"] - other)
    assert torch.equal(latent_advanced.latent_multiply(CTX, samples=a, multiplier=-2.0)["samples"], a["samples"] * -2)
    assert torch.allclose(latent_advanced.latent_interpolate(CTX, samples1=a, samples2=b, ratio=1.0)["samples"], a["samples"], atol=1e-6)


@pytest.mark.parametrize(("dim", "axis"), [("x", -1), ("y", -2), ("t", -3)])
def test_concat_and_cut_are_inverse(dim: str, axis: int) -> None:
    a, b = wire(1, 4, 3, 4, 4), wire(1, 4, 3, 4, 4, seed=1)
    joined = latent_advanced.latent_concat(CTX, samples1=a, samples2=b, dim=dim)
    size = a["samples"].shape[axis]
    assert torch.equal(latent_advanced.latent_cut(CTX, samples=joined, dim=dim, index=0, amount=size)["samples"], a["samples"])
    assert torch.equal(latent_advanced.latent_cut(CTX, samples=joined, dim=dim, index=-size, amount=size)["samples"], b["samples"])
    swapped = latent_advanced.latent_concat(CTX, samples1=a, samples2=b, dim="-" + dim)
    assert torch.equal(swapped["samples"], torch.cat([b["samples"], a["samples"]], dim=axis))


def test_operations() -> None:
    given = wire(1, 4, 16, 16)
    tame = latent_advanced.latent_operation_tonemap_reinhard(CTX, multiplier=1.0)
    out = latent_advanced.latent_apply_operation(CTX, samples=given, operation=tame)["samples"]
    assert (out.norm(dim=1) < given["samples"].norm(dim=1)).all()
    sharp = latent_advanced.latent_operation_sharpen(CTX, sharpen_radius=9, sigma=1.0, alpha=0.0)
    assert torch.allclose(
        latent_advanced.latent_apply_operation(CTX, samples=given, operation=sharp)["samples"], given["samples"], atol=1e-4
    )


def cond(tokens: int = 3, seed: int = 0, **extra: Any) -> list[Any]:
    return [[noise(1, tokens, 6, seed=seed), {"pooled_output": noise(1, 6, seed=seed + 100), "unknown": 1, **extra}]]


def test_conditioning_average() -> None:
    to, other = cond(4), cond(2, seed=1)
    tokens, extra = conditioning.conditioning_average(CTX, conditioning_to=to, conditioning_from=other, conditioning_to_strength=0.25)[0]
    padded = torch.cat([other[0][0], torch.zeros(1, 2, 6)], dim=1)
    assert torch.allclose(tokens, to[0][0] * 0.25 + padded * 0.75)
    assert torch.allclose(extra["pooled_output"], to[0][1]["pooled_output"] * 0.25 + other[0][1]["pooled_output"] * 0.75)
    assert extra["unknown"] == 1
    longer = conditioning.conditioning_average(CTX, conditioning_to=cond(1), conditioning_from=other, conditioning_to_strength=0.5)
    assert longer[0][0].shape == (1, 1, 6)


def test_average_takes_the_pooled_vector_that_is_there() -> None:
    bare, full = [[noise(1, 2, 6), {}]], cond(2)
    out = conditioning.conditioning_average(CTX, conditioning_to=bare, conditioning_from=full, conditioning_to_strength=0.5)
    assert torch.allclose(out[0][1]["pooled_output"], full[0][1]["pooled_output"])
    out = conditioning.conditioning_average(CTX, conditioning_to=full, conditioning_from=bare, conditioning_to_strength=0.5)
    assert torch.equal(out[0][1]["pooled_output"], full[0][1]["pooled_output"])


def test_combine_and_concat() -> None:
    a, b = cond(3), cond(2, seed=1)
    both = conditioning.conditioning_combine(CTX, conditioning_1=a, conditioning_2=b)
    assert both == [*a, *b] and len(a) == 1
    joined = conditioning.conditioning_concat(CTX, conditioning_to=a, conditioning_from=b)
    assert torch.equal(joined[0][0], torch.cat([a[0][0], b[0][0]], 1)) and joined[0][1] is not a[0][1]


def test_areas_masks_and_ranges_only_add_keys() -> None:
    base = cond()
    area = conditioning.conditioning_set_area(CTX, conditioning=base, width=64, height=128, x=8, y=16, strength=0.5)[0][1]
    assert (area["area"], area["strength"], area["set_area_to_bounds"], area["unknown"]) == ((16, 8, 2, 1), 0.5, False, 1)
    part = conditioning.conditioning_set_area_percentage(CTX, conditioning=base, width=0.1, height=0.2, x=0.3, y=0.4, strength=1.0)[0][1]
    assert part["area"] == ("percentage", 0.2, 0.1, 0.4, 0.3)
    assert conditioning.conditioning_set_area_strength(CTX, conditioning=base, strength=2.0)[0][1]["strength"] == 2.0
    masked = conditioning.conditioning_set_mask(CTX, conditioning=base, mask=torch.ones(4, 5), strength=0.7, set_cond_area="mask bounds")[
        0
    ][1]
    assert masked["mask"].shape == (1, 4, 5) and masked["set_area_to_bounds"] is True and masked["mask_strength"] == 0.7
    span = conditioning.conditioning_set_timestep_range(CTX, conditioning=base, start=0.25, end=0.5)[0][1]
    assert (span["start_percent"], span["end_percent"]) == (0.25, 0.5)
    assert set(base[0][1]) == {"pooled_output", "unknown"}


def test_zero_out() -> None:
    base = cond()
    tokens, extra = conditioning.conditioning_zero_out(CTX, conditioning=base)[0]
    assert tokens.shape == base[0][0].shape and not tokens.any() and not extra["pooled_output"].any()
    assert base[0][0].any() and base[0][1]["pooled_output"].any()


def test_unclip_entries_add_up() -> None:
    seen = object()
    once = conditioning.unclip_conditioning(CTX, conditioning=cond(), clip_vision_output=seen, strength=0.5, noise_augmentation=0.1)
    twice = conditioning.unclip_conditioning(CTX, conditioning=once, clip_vision_output=seen, strength=2.0, noise_augmentation=0.0)
    assert [e["strength"] for e in twice[0][1]["unclip_conditioning"]] == [0.5, 2.0] and len(once[0][1]["unclip_conditioning"]) == 1
    untouched = cond()
    assert (
        conditioning.unclip_conditioning(CTX, conditioning=untouched, clip_vision_output=seen, strength=0, noise_augmentation=0)
        is untouched
    )
