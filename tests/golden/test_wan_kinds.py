"""Wan's nets that are shown more than a film, against diffusers, through the real loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanAnimateTransformer3DModel, WanVACETransformer3DModel

from backend.base.errors import BadInput
from backend.diffusion.latent import WAN, WAN22
from backend.diffusion.patches.again import skipping
from backend.families.load import load_diffusion_model
from backend.families.wan.animate import AnimateSizes
from backend.families.wan.vace import VaceSizes
from tests.families import nets, tiny
from tests.golden.wans import SMALL, TEXT, apart, lively, loaded, of, plain, prompt, run, shown_some, single

NEAR = 1e-5


@torch.no_grad()
def test_vace(tmp_path: Path) -> None:
    torch.manual_seed(42)
    more: dict[str, Any] = {**SMALL, "num_layers": 4}
    theirs = lively(WanVACETransformer3DModel(**more, vace_layers=[0, 2]))
    model = of(theirs, tmp_path)
    assert model.family.name == "Wan VACE" and nets.knowing(single(theirs)) == ["Wan VACE"]
    assert model.sizes == VaceSizes(16, 16, 64, 2, 4, 48, TEXT, hints=96, looking=2)
    x, t, text = torch.randn(1, 16, 2, 6, 4), torch.tensor([700.0]), torch.randn(1, 9, TEXT)
    film, mask = torch.randn(1, 32, 2, 6, 4), torch.rand(1, 64, 2, 6, 4)
    hint = torch.cat([WAN.process_in(film[:, :16]), WAN.process_in(film[:, 16:]), mask], dim=1)
    expected = theirs(x, t, prompt(text), control_hidden_states=hint, control_hidden_states_scale=torch.full((2,), 0.7)).sample
    told = {"cross_attn": text, "vace_frames": [film], "vace_mask": [mask], "vace_strength": [0.7]}
    assert apart(run(model, x, t, **told), expected) < NEAR
    twice = {"vace_frames": [film, film], "vace_mask": [mask, mask], "vace_strength": [0.3, 0.4]}
    assert apart(run(model, x, t, cross_attn=text, **twice), expected) < NEAR
    assert run(model, x, t, cross_attn=text).shape == x.shape
    theirs.save_pretrained(tmp_path / "folder")
    folder = load_diffusion_model(tmp_path / "folder", tiny.services(tmp_path))
    assert torch.equal(run(folder, x, t, **told), run(model, x, t, **told))
    odd = torch.randn(1, 16, 2, 5, 3)
    assert run(model, odd, t, cross_attn=text).shape == odd.shape
    with pytest.raises(BadInput, match="2 latent frames, and the film that is made 3"):
        run(model, torch.randn(1, 16, 3, 6, 4), t, **told)


@torch.no_grad()
def test_animate(tmp_path: Path) -> None:
    torch.manual_seed(43)
    small: dict[str, Any] = {
        "image_dim": 24, "added_kv_proj_dim": 64, "motion_encoder_size": 16, "motion_style_dim": 10, "motion_dim": 6,
        "motion_encoder_dim": 12, "motion_encoder_channel_sizes": {"4": 9, "8": 8, "16": 7},
        "face_encoder_hidden_dim": 16, "face_encoder_num_heads": 2,
    }  # fmt: skip
    theirs = lively(WanAnimateTransformer3DModel(**{**SMALL, "num_layers": 10}, **small, inject_face_latents_blocks=5))
    weights = single(theirs)
    model = of(theirs, tmp_path)
    sizes = AnimateSizes(
        16, 36, 64, 2, 10, 48, TEXT, 24, faces=(7, 8, 9), style=10, motions=6, motion=12, hidden_face=16, tokens=2, looks=2
    )
    assert model.family.name == "Wan Animate" and nets.knowing(weights) == ["Wan Animate"]
    assert model.sizes == AnimateSizes(**{**vars(sizes), "flat": True})
    maps = {key: value.reshape(1, -1, 1, 1) if "net_app" in key and key.endswith("bias") else value for key, value in weights.items()}
    published = loaded(maps, tmp_path)
    assert published.sizes == sizes
    x, t, text, seen = torch.randn(1, 16, 3, 6, 4), torch.tensor([400.0]), torch.randn(1, 9, TEXT), torch.randn(1, 5, 24)
    known, mask = torch.randn(1, 16, 3, 6, 4), torch.rand(1, 4, 3, 6, 4)
    pose, faces = torch.randn(1, 16, 2, 6, 4), torch.rand(1, 3, 8, 16, 16) * 2 - 1
    shown = torch.cat([x, 1 - mask, WAN.process_in(known)], dim=1)
    expected = theirs(shown, t, prompt(text), seen, WAN.process_in(pose), faces).sample
    told: dict[str, Any] = {
        "cross_attn": text, "concat_latent_image": known, "concat_mask": mask, "pose_video_latent": pose, "face_video_pixels": faces,
        "clip_vision_output": type("Seen", (), {"penultimate_hidden_states": seen}),
    }  # fmt: skip
    for net in (model, published):
        assert apart(run(net, x, t, **told), expected) < NEAR
    cut = {"concat_latent_image": known[:, :, 1:], "concat_mask": mask[:, :, 1:], "pose_video_latent": pose[:, :, 1:]}
    later = run(model, x[:, :, 1:], t, **{**told, **cut, "face_video_pixels": faces[:, :, 4:]})
    assert apart(shown_some(model, x, t, [1, 2], **told), later) < NEAR
    short = {**told, "face_video_pixels": faces[:, :, :4]}
    assert run(model, x, t, **short).shape == x.shape


@torch.no_grad()
def test_first_and_last_frame(tmp_path: Path) -> None:
    theirs = plain(in_channels=36, image_dim=24, added_kv_proj_dim=64, pos_embed_seq_len=10)
    model = of(theirs, tmp_path)
    assert model.family.name == "Wan image to video" and model.sizes.positions == 10
    x, t, text, seen = torch.randn(1, 16, 2, 4, 4), torch.tensor([300.0]), torch.randn(1, 9, TEXT), torch.randn(1, 10, 24)
    known, mask = torch.randn(1, 16, 2, 4, 4), torch.rand(1, 4, 2, 4, 4)
    shown = torch.cat([x, 1 - mask, WAN.process_in(known)], dim=1)
    expected = theirs(shown, t, prompt(text), seen.reshape(2, 5, 24)).sample
    vision = type("Seen", (), {"penultimate_hidden_states": seen})
    got = run(model, x, t, cross_attn=text, concat_latent_image=known, concat_mask=mask, clip_vision_output=vision)
    assert apart(got, expected) < NEAR


@torch.no_grad()
def test_each_frame_has_its_time(tmp_path: Path) -> None:
    theirs = plain(in_channels=48, out_channels=48)
    model = of(theirs, tmp_path)
    assert model.family.name == "Wan 2.2 5B" and model.family.latent == WAN22 and nets.knowing(single(theirs)) == ["Wan 2.2 5B"]
    x, t, text = torch.randn(1, 48, 3, 4, 6), torch.tensor([800.0]), torch.randn(1, 9, TEXT)
    mask = torch.tensor([0.0, 1.0, 0.5]).reshape(1, 1, 3, 1, 1).expand(1, 1, 3, 4, 6)
    times = (t * mask[:, 0, :, ::2, ::2]).flatten(1)
    assert apart(run(model, x, t, cross_attn=text, denoise_mask=mask), theirs(x, times, prompt(text)).sample) < NEAR
    assert apart(run(model, x, t, cross_attn=text), theirs(x, t, prompt(text)).sample) < NEAR


@torch.no_grad()
def test_blocks_are_left_out_and_replaced(tmp_path: Path) -> None:
    """Skip layer guidance, and what packs put in the place of blocks."""
    theirs = plain()
    model = of(theirs, tmp_path)
    x, t, text = torch.randn(1, 16, 2, 4, 4), torch.tensor([300.0]), torch.randn(1, 9, TEXT)
    seen: list[int] = []

    def replaced(args: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        seen.append(args["transformer_options"]["block_index"])
        out: dict[str, Any] = more["original_block"](args)
        return out

    whole = run(model, x, t, cross_attn=text)
    again = run(model, x, t, {"dit_replace": ((("double_block", 1), replaced),)}, cross_attn=text)
    assert torch.equal(again, whole) and seen == [1]
    shorter = run(model, x, t, skipping([("double_block", 1)]), cross_attn=text)
    del theirs.blocks[1]
    assert apart(shorter, theirs(x, t, prompt(text)).sample) < NEAR and apart(shorter, whole) > NEAR
