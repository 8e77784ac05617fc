"""What Wan's nets are given, from the words of the conditioning: the prompt, and what each is shown beside the film."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.batching import repeated
from backend.diffusion.inpaint import fit_noise_mask
from backend.diffusion.latent import WAN, WAN22, LatentFormat
from backend.families.prompt import tokens
from backend.families.wan.animate import AnimateSizes
from backend.families.wan.camera import CameraSizes
from backend.families.wan.humo import HumoSizes
from backend.families.wan.net import WanSizes
from backend.families.wan.sound import SoundSizes
from backend.families.wan.vace import VaceSizes

LENGTH = 512
"""Tokens that every prompt is filled up to, with nothing."""
HOLES = 4
"""Channels that say which of four frames are given."""
CELL = 8
GREY = (
    (0.8660, -0.4326, -0.0017, -0.4884, -0.5283, 0.9207, -0.9896, 0.4433, -0.5543, -0.0113, 0.5753, -0.6000, -0.8346, -0.3497, -0.1926,
     -0.6938),
    (1.0869, -1.2370, 0.0206, -0.4357, -0.6411, 2.0307, -1.5972, 1.2659, -0.8595, -0.4654, 0.9638, -1.6330, -1.4310, -0.1098, -0.3856,
     -1.4583),
    (0.8642, -1.8583, 0.1577, 0.1350, -0.3641, 2.5863, -1.9670, 1.6065, -1.0475, -0.8678, 1.1734, -1.8138, -1.5933, -0.7721, -0.3289,
     -1.3745),
)  # fmt: skip
"""A grey film as latents, as the net sees them: its first frame, its second, and every later one."""
Made = dict[str, Tensor]


def latent_of(sizes: Any) -> LatentFormat:
    """Of Wan 2.1's autoencoder, or of Wan 2.2's."""
    return WAN22 if sizes.channels == WAN22.channels else WAN


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> Made:
    """The prompt's tokens, filled up; what is known of the film, what an image encoder saw, and what stands before and after the film.

    Raises BadInput for a text, a picture or latents of another encoder.
    """
    assert isinstance(sizes, WanSizes)
    (cond, *_) = conds
    context = tokens(conds, sizes.context, "Wan", "Encode the prompt with UMT5 XXL (Load CLIP, type wan).")
    made = {"context": F.pad(context, (0, 0, 0, max(0, LENGTH - context.shape[1])))}
    if sizes.shown > sizes.channels:
        made["concat"] = known(cond, sizes, shape)
    vision = cond.get("clip_vision_output")
    if vision is not None and sizes.image is not None:
        states: Tensor = vision.penultimate_hidden_states
        if states.shape[-1] != sizes.image:
            raise BadInput(
                f"The picture is encoded {states.shape[-1]} wide, but this Wan model takes {sizes.image}.",
                hint="Encode it with CLIP-ViT-H (clip_vision_h).",
            )
        made["seen"] = states[:1]
    if sizes.channels == WAN22.channels and cond.get("denoise_mask") is not None:
        made["clock"] = cond["denoise_mask"]
    if cond.get("time_dim_concat") is not None and sizes.shown == sizes.channels:
        made["follows"] = _sized(_seen(cond["time_dim_concat"], sizes, "The pictures of subjects are"), shape)
    if cond.get("reference_latents") and sizes.reference is not None:
        made["reference"] = _person(cond, sizes, shape)
    return made


def known(cond: dict[str, Any], sizes: WanSizes, shape: Sequence[int]) -> Tensor:
    """[B, more, T, H, W]: which frames are given, and films that are known, as the net sees latents; nothing where the entry has none.

    Which frames are given comes first, or after `concat_mask_index` channels of films.
    """
    more, size = sizes.shown - sizes.channels, tuple(shape[2:])
    film: Tensor | None = cond.get("concat_latent_image")
    if film is None:
        return torch.zeros(1, more, *size)
    if film.ndim != 5 or film.shape[1] % sizes.channels:
        raise BadInput(
            f"What is known of the film is encoded as {list(film.shape)}, but this Wan model works on {sizes.channels} channels.",
            hint="Give the node that made it the model's own VAE.",
        )
    film = fitted(torch.cat([latent_of(sizes).process_in(part) for part in torch.split(film.float(), sizes.channels, dim=1)], dim=1), size)
    if film.shape[1] == more:
        return film
    if more > HOLES and film.shape[1] > more - HOLES and sizes.image is not None:
        film = film[:, : more - HOLES]
    if film.shape[1] != more - HOLES:
        raise BadInput(
            f"This Wan model is shown {more} channels beside the film, but there are {film.shape[1]}.",
            hint=_NODES.get(more, "Use the node that belongs to the model."),
        )
    mask: Tensor | None = cond.get("concat_mask", cond.get("denoise_mask"))
    given = torch.zeros(1, HOLES, *size)
    if mask is not None:
        given = 1 - (mask.float() if mask.ndim == 5 else fit_noise_mask(mask, (1, 1, *size)))
        given = fitted(given if mask.shape[1] == HOLES else given.mean(1, keepdim=True), size).expand(-1, HOLES, *size)
    at = int(cond.get("concat_mask_index") or 0)
    count = max(len(film), len(given))
    film, given = repeated(film, count), repeated(given, count)
    return torch.cat([film[:, :at], given, film[:, at:]], dim=1)


_NODES = {
    16: "Use WanCameraImageToVideo.",
    20: "Use WanImageToVideo or WanFirstLastFrameToVideo.",
    32: "Use WanFunControlToVideo.",
    36: "Use Wan22FunControlToVideo.",
    52: "Use WanFunInpaintToVideo with the VAE of Wan 2.2.",
    100: "Use Wan22FunControlToVideo with the VAE of Wan 2.2.",
}


def fitted(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """x [B, C, T, h, w] at a size of frames, rows and columns; missing frames are nothing."""
    if tuple(x.shape[3:]) != size[1:]:
        flat = F.interpolate(x.transpose(1, 2).flatten(0, 1), size=size[1:], mode="bilinear")
        x = torch.unflatten(flat, 0, (len(x), -1)).transpose(1, 2)
    x = x[:, :, : size[0]]
    return F.pad(x, (0, 0, 0, 0, 0, size[0] - x.shape[2]))


def _sized(x: Tensor, shape: Sequence[int]) -> Tensor:
    """All frames of x [B, C, T, h, w] at the film's size."""
    return fitted(x, (x.shape[2], *shape[3:]))


def _seen(latent: Tensor, sizes: WanSizes, what: str) -> Tensor:
    """A latent as the net sees it. Raises BadInput for one of another kind."""
    latent = latent.unsqueeze(2) if latent.ndim == 4 else latent
    if latent.ndim != 5 or latent.shape[1] != sizes.channels:
        raise BadInput(
            f"{what} encoded as {list(latent.shape)}, but this Wan model works on latents of {sizes.channels} channels.",
            hint="Give the node that made it the model's own VAE.",
        )
    return latent_of(sizes).process_in(latent.float())


def _person(cond: dict[str, Any], sizes: WanSizes, shape: Sequence[int]) -> Tensor:
    """The last picture to look at."""
    return _sized(_seen(cond["reference_latents"][-1], sizes, "The picture to look at is"), shape)


def vace(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> Made:
    """As `inputs`, and films to follow or to fill with their masks; a film of nothing to be filled where there are none."""
    assert isinstance(sizes, VaceSizes)
    (cond, *_), size = conds, tuple(shape[2:])
    films = cond.get("vace_frames") or [torch.zeros(1, 2 * sizes.channels, *size)]
    spare = torch.ones(1, sizes.hints - 2 * sizes.channels, *size)
    masks = cond.get("vace_mask") or [spare] * len(films)
    strengths = cond.get("vace_strength") or [1.0] * len(films)
    if not len(films) == len(masks) == len(strengths):
        raise BadInput(
            f"There are {len(films)} films to follow, {len(masks)} masks for them and {len(strengths)} strengths.",
            hint="Let WanVaceToVideo add all three.",
        )
    hints = []
    for film, mask in zip(films, masks, strict=True):
        if film.ndim != 5 or film.shape[1] + mask.shape[1] != sizes.hints:
            raise BadInput(
                f"The film to follow is encoded as {list(film.shape)}, which this Wan VACE model does not take.",
                hint="Give WanVaceToVideo the VAE of Wan 2.1.",
            )
        if film.shape[2] != size[0]:
            raise BadInput(
                f"The film to follow has {film.shape[2]} latent frames, and the film that is made {size[0]}.",
                hint="Sample the latent that WanVaceToVideo gives.",
            )
        parts = [latent_of(sizes).process_in(part) for part in torch.split(film.float(), sizes.channels, dim=1)]
        hints.append(torch.cat([fitted(torch.cat(parts, dim=1), size), fitted(mask.float(), size)], dim=1))
    count = max(len(hint) for hint in hints)
    both = {"hints": torch.cat([repeated(hint, count) for hint in hints], dim=1), "strengths": torch.tensor([strengths])}
    return inputs(conds, sizes, shape) | both


def camera(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> Made:
    """As `inputs`, and the rays of a camera."""
    assert isinstance(sizes, CameraSizes)
    made, rays = inputs(conds, sizes, shape), conds[0].get("camera_conditions")
    if rays is None:
        return made
    wanted = (shape[2], shape[3] * CELL, shape[4] * CELL)
    if tuple(rays.shape[2:]) != wanted or rays.shape[1] * CELL**2 != sizes.rays:
        raise BadInput(
            f"The camera's rays are for {rays.shape[2]} latent frames of {rays.shape[4]}x{rays.shape[3]} pixels, and the film is"
            f" {wanted[0]} of {wanted[2]}x{wanted[1]}.",
            hint="Connect width, height and length of WanCameraEmbedding to WanCameraImageToVideo.",
        )
    cells = F.pixel_unshuffle(rays.float().transpose(1, 2).flatten(0, 1), CELL)
    return made | {"rays": torch.unflatten(cells, 0, (len(rays), -1)).transpose(1, 2)}


def animate(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> Made:
    """As `inputs`, and poses and faces to follow. The first frame is a picture of the person, which follows nothing."""
    assert isinstance(sizes, AnimateSizes)
    made, (cond, *_) = inputs(conds, sizes, shape), conds
    if cond.get("pose_video_latent") is not None:
        pose = _seen(cond["pose_video_latent"], sizes, "The poses are")
        pose = torch.cat([pose[:, :, :1], pose, pose[:, :, -1:].expand(-1, -1, max(0, shape[2] - 1 - pose.shape[2]), -1, -1)], dim=2)
        made["pose"] = fitted(pose, tuple(shape[2:]))
    if cond.get("face_video_pixels") is not None:
        made["faces"] = _sized(cond["face_video_pixels"].float(), (0, 0, 0, sizes.side, sizes.side))
    return made


def sound(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> Made:
    """As `inputs`, and a sound, poses, a picture of the person and the film before."""
    assert isinstance(sizes, SoundSizes)
    made, (cond, *_) = inputs(conds, sizes, shape), conds
    states = cond.get("audio_embed")
    if states is not None:
        if states.ndim != 4 or tuple(states.shape[1:3]) != (sizes.states, sizes.sound):
            raise BadInput(
                f"The sound is encoded as {list(states.shape[1:-1])}, but this Wan model hears {sizes.states} layers that are"
                f" {sizes.sound} wide.",
                hint="Encode it with wav2vec 2.0 large (wav2vec2_large_english).",
            )
        made["states"] = states[..., : shape[2] * 4]
    if cond.get("control_video") is not None:
        made["pose"] = fitted(_seen(cond["control_video"], sizes, "The poses are"), tuple(shape[2:]))
    if cond.get("reference_latents"):
        made["person"] = _person(cond, sizes, shape)
    if cond.get("reference_motion") is not None:
        made["before"] = _sized(_seen(cond["reference_motion"], sizes, "The film before is"), shape)
    return made


def humo(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> Made:
    """As `inputs`, and a sound and a picture of the person. Large nets are shown a grey film of which nothing is given."""
    assert isinstance(sizes, HumoSizes)
    made, (cond, *_) = inputs(conds, sizes, shape), conds
    heard = cond.get("audio_embed")
    if heard is not None:
        if tuple(heard.shape[2:]) != (sizes.moments, sizes.states, sizes.sound):
            raise BadInput(
                f"The sound is encoded as {list(heard.shape[2:])}, but HuMo hears {[sizes.moments, sizes.states, sizes.sound]}.",
                hint="Encode it with Whisper large v3, and use WanHuMoImageToVideo.",
            )
        made["sound"] = heard
    if sizes.shown > sizes.channels:
        grey = torch.tensor(GREY).T.reshape(1, -1, len(GREY), 1, 1)
        frames = torch.arange(shape[2]).clamp(max=len(GREY) - 1)
        made["concat"] = F.pad(grey[:, :, frames].expand(-1, -1, -1, *shape[3:]), (0, 0, 0, 0, 0, 0, HOLES, 0))
    if cond.get("reference_latents"):
        person = _person(cond, sizes, shape)
        if sizes.shown > sizes.channels:
            person = torch.cat([torch.zeros_like(person), torch.ones_like(person[:, :HOLES]), person], dim=1)
        made["person"] = person
    return made
