"""The nodes of Wan: what they say of a film, by formulas written out, and what they refuse."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.latent import WAN, WAN22
from backend.diffusion.preview import colours
from backend.families.wan.hearing import for_film, for_humo
from backend.families.wan.inputs import GREY
from backend.families.wan.rays import MOTIONS
from backend.families.wan.tracks import moved, places, read
from nodes.camera import wan_camera_embedding
from nodes.wan import (
    wan22_fun_control_to_video,
    wan22_image_to_video_latent,
    wan_camera_image_to_video,
    wan_first_last_frame_to_video,
    wan_fun_control_to_video,
    wan_fun_inpaint_to_video,
    wan_image_to_video,
    wan_phantom_subject_to_video,
    wan_track_to_video,
    wan_vace_to_video,
)
from nodes.wan_people import (
    wan_animate_to_video,
    wan_humo_image_to_video,
    wan_sound_image_to_video,
    wan_sound_image_to_video_extend,
)

CTX: Any = SimpleNamespace(node="9", services=SimpleNamespace(pool=None), check=lambda: None)
SIZE: dict[str, Any] = {"width": 32, "height": 16, "length": 9, "batch_size": 1}
PROMPTS: dict[str, Any] = {"positive": [[torch.zeros(1, 2, 4), {}]], "negative": [[torch.ones(1, 2, 4), {}]]}


class Vae:
    """Every latent cell holds the mean of the first of its four frames."""

    encode_each = None

    def __init__(self, channels: int = 16, factor: int = 8) -> None:
        self.channels, self.factor = channels, factor

    def encode(self, pixels: Tensor, pool: Any, check: Any = None) -> Tensor:
        first = pixels[[0, *range(1, (len(pixels) - 1) // 4 * 4 + 1, 4)]].mean(dim=3)
        cells = torch.nn.functional.avg_pool2d(first.unsqueeze(1), self.factor)
        return cells.transpose(0, 1).unsqueeze(0).expand(-1, self.channels, -1, -1, -1).clone()


def grey(value: float, frames: int = 1) -> Tensor:
    return torch.full((frames, 16, 32, 3), value)


def test_a_grey_film_looks_grey() -> None:
    """The grey that HuMo is shown, by the matrix for previews: two tables of numbers that agree."""
    first = torch.tensor(GREY)[:1, :].T.reshape(1, 16, 1, 1, 1)
    seen = colours(first, WAN)
    assert seen is not None and (seen - 0.5).abs().max() < 0.04


def test_films_to_follow() -> None:
    made = wan_fun_control_to_video(CTX, **PROMPTS, **SIZE, vae=Vae(), start_image=grey(0.2), control_video=grey(0.9, 20))
    film = made.positive[0][1]["concat_latent_image"]
    nothing = WAN.process_out(torch.zeros(1, 16, 3, 2, 4))
    assert film.shape == (1, 32, 3, 2, 4) and torch.allclose(film[:, :16], torch.tensor(0.9))
    assert torch.allclose(film[:, 16:, :1], torch.tensor(0.2)) and torch.equal(film[:, 16:, 1:], nothing[:, :, 1:])
    assert made.latent["samples"].shape == (1, 16, 3, 2, 4) and made.negative[0][1].keys() == made.positive[0][1].keys()
    newer = wan22_fun_control_to_video(CTX, **PROMPTS, **SIZE, vae=Vae(48, 16), ref_image=grey(0.4), control_video=grey(0.9, 9))
    told = newer.negative[0][1]
    assert told["concat_mask_index"] == 48 and told["concat_mask"].shape == (1, 4, 3, 1, 2) and bool((told["concat_mask"] == 1).all())
    assert told["concat_latent_image"].shape == (1, 96, 3, 1, 2) and torch.allclose(told["reference_latents"][0], torch.tensor(0.4))


def test_between_two_pictures() -> None:
    made = wan_fun_inpaint_to_video(CTX, **PROMPTS, **SIZE, vae=Vae(), start_image=grey(0.1), end_image=grey(0.9, 2))
    mask, film = made.positive[0][1]["concat_mask"], made.positive[0][1]["concat_latent_image"]
    assert mask.shape == (1, 4, 3, 2, 4)
    assert mask[0, :, :, 0, 0].tolist() == [[0, 1, 1], [0, 1, 1], [0, 1, 0], [0, 1, 0]]
    assert torch.allclose(film[0, 0, :, 0, 0], torch.tensor([0.1, 0.5, 0.5]))


def test_the_small_net_begins_with_a_picture() -> None:
    made = wan22_image_to_video_latent(CTX, **{**SIZE, "batch_size": 2}, vae=Vae(48, 16), start_image=grey(0.3))
    assert made["samples"].shape == (2, 48, 3, 1, 2) and torch.allclose(made["samples"][:, :, 0], torch.tensor(0.3))
    assert torch.equal(made["samples"][:1, :, 1:], WAN22.process_out(torch.zeros(1, 48, 2, 1, 2)))
    assert made["noise_mask"][:, 0, :, 0, 0].tolist() == [[0, 1, 1]] * 2
    with pytest.raises(BadInput, match=r"latents of 16 channels; Wan 2\.2 5B works on 48"):
        wan22_image_to_video_latent(CTX, **SIZE, vae=Vae())
    with pytest.raises(BadInput, match="no VAE of films"):
        wan22_image_to_video_latent(CTX, **SIZE, vae=None)


def test_vace() -> None:
    masks = torch.zeros(2, 16, 32)
    masks[1, :, 16:] = 1
    made = wan_vace_to_video(
        CTX, **PROMPTS, **SIZE, vae=Vae(), strength=0.5, control_video=grey(0.9, 5), control_masks=masks, reference_image=grey(0.2)
    )
    told = made.positive[0][1]
    (film,), (mask,) = told["vace_frames"], told["vace_mask"]
    assert made.trim_latent == 1 and film.shape == (1, 32, 4, 2, 4) and mask.shape == (1, 64, 4, 2, 4) and told["vace_strength"] == [0.5]
    assert made.latent["samples"].shape == (1, 16, 4, 2, 4)
    assert torch.allclose(film[0, 0, :, 0, 0], torch.tensor([0.2, 0.9, 0.9, 0.5]))  # kept: where the mask is black
    assert torch.allclose(film[0, 16, :2, 0, 0], torch.tensor([float(WAN.process_out(torch.zeros(1, 16, 1, 1, 1))[0, 0]), 0.5]))
    assert mask[0, :, 0].abs().sum() == 0 and mask[0, :, 2:].mean() == 1
    assert mask[0, 0, 1].tolist() == [[0, 0, 1, 1]] * 2  # of nine frames, the middle ones of three threes stand for them
    twice = wan_vace_to_video(CTX, positive=made.positive, negative=made.negative, **SIZE, vae=Vae(), strength=1.0)
    assert twice.positive[0][1]["vace_strength"] == [0.5, 1.0] and len(told["vace_frames"]) == 1


def test_sides_that_are_no_whole_cells() -> None:
    made = wan_vace_to_video(CTX, **PROMPTS, **{**SIZE, "width": 37, "height": 19}, vae=Vae(), strength=1.0, control_video=grey(0.9, 9))
    assert made.positive[0][1]["vace_mask"][0].shape == (1, 64, 3, 2, 4)


def test_subjects() -> None:
    made = wan_phantom_subject_to_video(CTX, **PROMPTS, **SIZE, vae=Vae(), images=torch.cat([grey(0.1), grey(0.7)]))
    seen, none = made.positive[0][1]["time_dim_concat"], made.negative_img_text[0][1]["time_dim_concat"]
    assert torch.allclose(seen[0, 0, :, 0, 0], torch.tensor([0.1, 0.7])) and torch.equal(made.negative_text[0][1]["time_dim_concat"], seen)
    assert torch.equal(none, WAN.process_out(torch.zeros(1, 16, 2, 2, 4)))


def turned(about: str, angle: float) -> Any:
    c, s = math.cos(angle), math.sin(angle)
    return np.array({"z": [[c, -s, 0], [s, c, 0], [0, 0, 1]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}[about])


@pytest.mark.parametrize("pose", ["Zoom In", "Anti Clockwise (ACW)", "Pan Left"])
def test_rays_of_a_camera(pose: str) -> None:
    made = wan_camera_embedding(CTX, camera_pose=pose, width=32, height=16, length=9, speed=2.0, fx=0.6, fy=0.5, cx=0.5, cy=0.4)
    assert made.camera_embedding.shape == (1, 24, 3, 16, 32) and made[1:] == (32, 16, 9)
    frame, row, column = 7, 3, 20  # the third of the four in the third latent frame
    share, motion = frame / 9 * 2.0, MOTIONS[pose]
    turn = turned("z", motion.angle[2] * share * math.pi / 3)
    where = np.array(motion.step) * share * 1.5
    seen = np.array([(column + 0.5 - 16) / (0.6 * 32), (row + 0.5 - 0.4 * 16) / (0.5 * 32 / (1280 / 720)), 1.0])
    direction = turn @ (seen / np.linalg.norm(seen))
    expected = [*np.cross(where, direction), *direction]
    got = made.camera_embedding[0, 2::4, 2, row, column]
    assert np.allclose(got.numpy(), expected, atol=1e-5)
    begun = wan_camera_image_to_video(
        CTX, **PROMPTS, **SIZE, vae=Vae(), start_image=grey(0.3), camera_conditions=made.camera_embedding
    )  # fmt: skip
    assert begun.positive[0][1]["concat_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1]


def test_points_that_move() -> None:
    film = torch.zeros(2, 3, 8, 8)
    film[0, 0, 4, 2], film[1] = 1.0, 5.0
    way = [{"x": 20 + i, "y": 36} for i in range(200)]  # of 64 pixels: from the third cell on, to the right
    where = places([way], 64, 64, 9)
    assert where.shape == (9, 1, 3)
    at = (20 + 2 - 32) / 64 * 2  # eight frames stand for the moments 2, 17, 32 ... of 120
    assert where[1, 0].tolist() == pytest.approx([at, (36 - 32) / 32, 1.0])
    made, known = moved(film, where, 220.0, 2)
    assert torch.equal(made[:, 0], film[:, 0]) and bool((known[0] == 1).all())
    later = where[1:5, 0, :2].mean(0)
    grid = torch.linspace(-1, 1, 8)
    weight = torch.exp(-(((grid[None, :] - later[0]) ** 2) + ((grid[:, None] - later[1]) ** 2)) * 220.0)
    assert torch.allclose(known[1], weight, atol=1e-5)
    start = torch.nn.functional.grid_sample(film[None, :, 0], where[None, :1, :, :2], align_corners=False)[0, :, 0, 0]
    assert torch.allclose(made[:, 1], start[:, None, None] * weight + film[:, 1] * (1 - weight), atol=1e-5)
    hidden = places([way[:10]], 64, 64, 9)
    assert hidden[-1, 0, 2] == -1 and torch.equal(moved(film, hidden, 220.0, 1)[0][:, 2], film[:, 2])


def test_tracks_are_read() -> None:
    point = {"x": 1, "y": 2.5}
    assert read("[]") == [] and read("[{'x': 1, 'y': 2.5}]") == [[[point]]]
    for text in (
        "{",
        "[1]",
        '[[{"x": 1}]]',
        '[[{"x": NaN, "y": 0}]]',
        '{"x": 1, "y": 2}',
        "[[[[[]]]]]",
        f'[{{"x": 1{"0" * 5000}, "y": 0}}]',
        '[[{"x": 1e99, "y": 0}]]',
    ):
        with pytest.raises(BadInput, match="tracks are no"):
            read(text)
    begun = wan_track_to_video(
        CTX, **PROMPTS, **SIZE, vae=Vae(), tracks='[[{"x": 4, "y": 4}, {"x": 9, "y": 4}]]', temperature=220.0, topk=2, start_image=grey(0.3)
    )
    told = begun.positive[0][1]
    assert told["concat_mask"].shape == (1, 4, 3, 2, 4) and told["concat_latent_image"].shape == (1, 16, 3, 2, 4)
    assert bool((told["concat_mask"][:, :, 0] == 0).all())


def test_a_person_who_moves_as_another() -> None:
    made = wan_animate_to_video(
        CTX, **PROMPTS, **SIZE, vae=Vae(), continue_motion_max_frames=5, video_frame_offset=4, reference_image=grey(0.2),
        face_video=grey(0.5, 9), pose_video=grey(0.6, 9), background_video=grey(0.8, 13), character_mask=torch.ones(13, 16, 32) * 0.25,
        continue_motion=grey(0.4, 3),
    )  # fmt: skip
    told = made.positive[0][1]
    assert made.trim_latent == 1 and made.trim_image == 1 and made.video_frame_offset == 1 + 9
    assert made.latent["samples"].shape == (1, 16, 4, 2, 4)
    film, mask = told["concat_latent_image"], told["concat_mask"]
    assert torch.allclose(film[0, 0, :, 0, 0], torch.tensor([0.2, 0.4, 0.8, 0.8]))
    assert mask[0, :, :, 0, 0].tolist() == [[0, 0, 0.25, 0.25], [0, 0.25, 0.25, 1], [0, 0.25, 0.25, 1], [0, 0.25, 0.25, 1]]
    assert told["face_video_pixels"].shape == (1, 3, 8, 512, 512) and float(told["face_video_pixels"].abs().max()) < 1e-6
    assert float(made.negative[0][1]["face_video_pixels"].max()) == -1 and told["pose_video_latent"].shape == (1, 16, 3, 2, 4)


def test_sounds() -> None:
    states = [torch.arange(100.0).reshape(1, 100, 1) + layer for layer in range(3)]  # two seconds
    heard = for_film(states, 12)
    assert heard.shape == (1, 3, 1, 36)  # thirty-two frames, in stretches of twelve
    at_30 = torch.linspace(0, 99, 60)
    expected = [at_30[round(i / 16 * 30)].item() if round(i / 16 * 30) < 60 else 0.0 for i in range(36)]
    assert torch.allclose(heard[0, 0, 0], torch.tensor(expected), atol=1e-4)
    told: dict[str, Any] = {"encoded_audio_all_layers": states}
    begun = wan_sound_image_to_video(
        CTX, **PROMPTS, **SIZE, vae=Vae(), audio_encoder_output=told, ref_image=grey(0.3), ref_motion=grey(0.6, 80)
    )
    values = begun.positive[0][1]
    assert torch.equal(values["audio_embed"], heard[..., :12]) and float(begun.negative[0][1]["audio_embed"].abs().max()) == 0
    assert values["reference_motion"].shape == (1, 16, 19, 2, 4) and torch.equal(
        values["control_video"], WAN.process_out(torch.zeros(1, 16, 3, 2, 4))
    )
    more = wan_sound_image_to_video_extend(
        CTX, **PROMPTS, vae=Vae(), length=9, video_latent={"samples": torch.ones(1, 16, 3, 2, 4)}, audio_encoder_output=told
    )
    assert torch.equal(more.positive[0][1]["audio_embed"], heard[..., 12:24]) and more.latent["samples"].shape == (1, 16, 3, 2, 4)
    with pytest.raises(BadInput, match="not one of this VAE's"):
        wan_sound_image_to_video_extend(CTX, **PROMPTS, vae=Vae(), length=9, video_latent={"samples": torch.ones(1, 4, 2, 4)})


def test_sounds_of_humo() -> None:
    states = [torch.arange(100.0).reshape(1, 100, 1) * (layer + 1) for layer in range(33)]
    heard = for_humo(states, 640 * 20, 9)  # forty states, twenty moments
    at_25 = torch.linspace(0, 39, 20)
    assert heard.shape == (1, 3, 8, 5, 1)
    assert torch.allclose(heard[0, 0, :, 4, 0], torch.cat([torch.zeros(5), at_25[:3] * 33]), atol=1e-3)
    assert torch.allclose(heard[0, 1, :, 0, 0], torch.cat([torch.zeros(1), at_25[:7] * 4.5]), atol=1e-3)
    made = wan_humo_image_to_video(
        CTX, **PROMPTS, **SIZE, vae=Vae(), audio_encoder_output={"encoded_audio_all_layers": states, "audio_samples": 12800}
    )
    assert torch.equal(made.positive[0][1]["audio_embed"], heard) and float(made.negative[0][1]["audio_embed"].abs().max()) == 0
    silent = wan_humo_image_to_video(CTX, **PROMPTS, **SIZE, vae=Vae(), ref_image=grey(0.4))
    assert silent.positive[0][1]["audio_embed"].shape == (1, 3, 8, 5, 1280)
    assert torch.allclose(silent.positive[0][1]["reference_latents"][0], torch.tensor(0.4))
    with pytest.raises(BadInput, match="25 layers; HuMo hears 33"):
        wan_humo_image_to_video(CTX, **PROMPTS, **SIZE, vae=Vae(), audio_encoder_output={"encoded_audio_all_layers": states[:25]})


def test_the_shortest_films_and_sounds() -> None:
    ways = '[{"x": 4, "y": 4}, {"x": 9, "y": 4}]'
    still = wan_track_to_video(
        CTX, **PROMPTS, **{**SIZE, "length": 1}, vae=Vae(), tracks=ways, temperature=220.0, topk=2, start_image=grey(0.3)
    )
    assert torch.allclose(still.positive[0][1]["concat_latent_image"], torch.tensor(0.3)) and not still.positive[0][1]["concat_mask"].any()
    states = [torch.ones(1, 100, 1)] * 33
    assert torch.equal(for_humo(states, 10, 5), for_humo(states, 640, 5))  # less than a frame's sound counts as one's


def test_pictures_and_masks_of_other_shapes() -> None:
    made = wan_image_to_video(CTX, **PROMPTS, **SIZE, vae=Vae(), start_image=grey(0.3)[..., :1])
    assert torch.allclose(made.positive[0][1]["concat_latent_image"][:, :, 0], torch.tensor(0.3))
    flat, mask = ({"control_video": grey(0.9, 9), "control_masks": mask} for mask in (torch.ones(16, 32), torch.ones(1, 16, 32)))
    one, other = (wan_vace_to_video(CTX, **PROMPTS, **SIZE, vae=Vae(), strength=1.0, **told) for told in (flat, mask))
    assert torch.equal(one.positive[0][1]["vace_mask"][0], other.positive[0][1]["vace_mask"][0])


@pytest.mark.parametrize("node", [wan_image_to_video, partial(wan_track_to_video, tracks='[{"x": 1, "y": 1}]', temperature=1.0, topk=1)])
def test_an_autoencoder_of_another_model(node: Any) -> None:
    with pytest.raises(BadInput, match="latents of 48 channels"):
        node(CTX, **PROMPTS, **SIZE, vae=Vae(48, 16), start_image=grey(0.3))


def test_two_image_encoders() -> None:
    start, end = (SimpleNamespace(penultimate_hidden_states=torch.ones(1, 5, width)) for width in (8, 9))
    with pytest.raises(BadInput, match="first picture is encoded 8 wide, and the last 9"):
        wan_first_last_frame_to_video(CTX, **PROMPTS, **SIZE, vae=Vae(), clip_vision_start_image=start, clip_vision_end_image=end)
