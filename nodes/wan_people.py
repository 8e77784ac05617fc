"""Nodes of Wan's nets for people: ones that move as in another film, and ones that move with a sound."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.families.wan.hearing import for_film, for_humo
from backend.graph.declare import Int
from backend.imaging.resize import resize
from nodes.audio_encoder import SpeechOutput
from nodes.conditioning import with_values
from nodes.conditioning_values import appended
from nodes.types import MAX_SIDE, ClipVisionOutput, Conditioning, Image, IntOut, Latent, Mask, Vae
from nodes.wan import (
    GREY,
    SPAN,
    Begun,
    batch_of,
    by_fours,
    empty,
    films,
    frames_of,
    height_of,
    length_of,
    put,
    sized,
    told,
    void,
    wan,
    width_of,
)  # fmt: skip

FACE = 512
MOTION, MOTION_LATENT = 73, 19
"""Frames of the film before that are looked at, and the same in latents."""
WHISPER = 33


class Animated(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent
    trim_latent: IntOut
    trim_image: IntOut
    video_frame_offset: IntOut


@wan("WanAnimateToVideo", experimental=True)
def wan_animate_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(77),
    batch_size: int = batch_of(),
    continue_motion_max_frames: int = Int(5, min=1, max=MAX_SIDE, step=4),
    video_frame_offset: int = Int(0, min=0, max=MAX_SIDE, step=1),
    clip_vision_output: ClipVisionOutput | None = None,
    reference_image: Image | None = None,
    face_video: Image | None = None,
    pose_video: Image | None = None,
    background_video: Image | None = None,
    character_mask: Mask | None = None,
    continue_motion: Image | None = None,
) -> Animated:
    """Nothing yet, for a film in which a person moves as in another. Films longer than one piece are made piece by piece: each goes on
    where the last frames of the one before end."""
    films(ctx, vae)
    pool, kept = ctx.services.pool, 0
    seen = torch.zeros(1, height, width, 3) if reference_image is None else sized(reference_image[:1], width, height, "area")
    person = vae.encode(seen, pool, check=ctx.check)
    film = torch.full((length, height, width, 3), GREY)
    if continue_motion is not None:
        last = continue_motion[-continue_motion_max_frames:]
        video_frame_offset = max(0, video_frame_offset - len(last))
        last = sized(last[-length:], width, height, "area")
        film[: len(last)], kept = last, frames_of(len(last))
    begins = max(0, kept * SPAN - SPAN + 1)

    def rest(pictures: Tensor | None) -> Tensor | None:
        """Frames from the offset on, if there are any."""
        found = None if pictures is None else pictures[video_frame_offset:][:length]
        return found if found is not None and len(found) else None

    if (pose := rest(pose_video)) is not None:
        pose = sized(torch.cat([pose, pose[-1:].expand(length - len(pose), -1, -1, -1)]), width, height, "area")
        positive, negative = told(positive, negative, pose_video_latent=vae.encode(pose, pool, check=ctx.check))
    if (face := rest(face_video)) is not None:
        faces = (sized(face, FACE, FACE, "area") * 2 - 1).permute(3, 0, 1, 2).unsqueeze(0)
        positive = with_values(positive, face_video_pixels=faces)
        negative = with_values(negative, face_video_pixels=torch.full_like(faces, -1.0))
    if (background := rest(background_video)) is not None:
        film[begins : len(background)] = sized(background, width, height, "area")[begins:]
    mask = torch.ones(1, 1, frames_of(length) * SPAN, *person.shape[3:])
    mask[:, :, : kept * SPAN] = 0.0
    if character_mask is not None:
        drawn = character_mask.expand(length, -1, -1) if len(character_mask) == 1 else rest(character_mask)
        if drawn is not None:
            drawn = resize(drawn.unsqueeze(1), person.shape[4], person.shape[3], "nearest-exact", "center")
            mask[0, 0, begins : len(drawn)] = drawn[begins:, 0]
    known = torch.cat([person, vae.encode(film, pool, check=ctx.check)], dim=2)
    holes = torch.cat([torch.zeros(1, SPAN, *person.shape[2:]), by_fours(mask)], dim=2)
    positive, negative = told(positive, negative, concat_latent_image=known, concat_mask=holes, clip_vision_output=clip_vision_output)
    latent = torch.zeros(batch_size, vae.channels, known.shape[2], *person.shape[3:])
    return Animated(positive, negative, {"samples": latent}, person.shape[2], begins, video_frame_offset + length)


@wan("WanSoundImageToVideo")
def wan_sound_image_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(77),
    batch_size: int = batch_of(),
    audio_encoder_output: SpeechOutput | None = None,
    ref_image: Image | None = None,
    control_video: Image | None = None,
    ref_motion: Image | None = None,
) -> Begun:
    """Nothing yet, for a film of a person who moves with a sound, with Wan S2V."""
    films(ctx, vae)
    before = None
    if ref_motion is not None:
        shown = torch.full((MOTION, height, width, 3), GREY)
        last = sized(ref_motion[-MOTION:], width, height)
        shown[-len(last) :] = last
        before = vae.encode(shown, ctx.services.pool, check=ctx.check)
    latent = empty(vae, batch_size, length, width, height)
    return _with_sound(ctx, (positive, negative), vae, latent, 0, (audio_encoder_output, ref_image, control_video, before))


@wan("WanSoundImageToVideoExtend")
def wan_sound_image_to_video_extend(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    length: int = length_of(77),
    video_latent: Latent,
    audio_encoder_output: SpeechOutput | None = None,
    ref_image: Image | None = None,
    control_video: Image | None = None,
) -> Begun:
    """Nothing yet, for what comes after a film that Wan S2V made."""
    films(ctx, vae)
    before: Tensor = video_latent["samples"]
    if before.ndim != 5 or before.shape[1] != vae.channels:
        raise BadInput(
            f"The film that goes on is a latent of the shape {list(before.shape)}, not one of this VAE's.",
            hint="Connect what WanSoundImageToVideo's film was sampled to.",
            node=ctx.node,
            input="video_latent",
        )
    latent = empty(vae, len(before), length, before.shape[4] * vae.factor, before.shape[3] * vae.factor)
    given = (audio_encoder_output, ref_image, control_video, before)
    return _with_sound(ctx, (positive, negative), vae, latent, before.shape[2] * SPAN, given)


def _with_sound(ctx: Context, prompts: tuple[Any, Any], vae: Any, latent: Tensor, offset: int, given: tuple[Any, ...]) -> Begun:
    """`offset` is the moment of the sound at which the film begins; given are a sound, a person, poses and the film before."""
    (positive, negative), (heard, person, poses, before) = prompts, given
    height, width = latent.shape[3] * vae.factor, latent.shape[4] * vae.factor
    if heard is not None:
        moments = latent.shape[2] * SPAN
        states = for_film(heard["encoded_audio_all_layers"], moments)[..., offset : offset + moments]
        if states.shape[-1]:
            positive, negative = with_values(positive, audio_embed=states), with_values(negative, audio_embed=torch.zeros_like(states))
    if person is not None:
        reference = vae.encode(sized(person[:1], width, height), ctx.services.pool, check=ctx.check)
        positive, negative = (appended(c, "reference_latents", reference) for c in (positive, negative))
    followed = void(latent[:1])
    if poses is not None:
        length = (latent.shape[2] - 1) * SPAN + 1
        put(followed, vae.encode(sized(poses[:length], width, height), ctx.services.pool, check=ctx.check))
    motion = None if before is None else before[:, :, -MOTION_LATENT:]
    positive, negative = told(positive, negative, control_video=followed, reference_motion=motion)
    return Begun(positive, negative, {"samples": latent})


@wan("WanHuMoImageToVideo", experimental=True)
def wan_humo_image_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(97),
    batch_size: int = batch_of(),
    audio_encoder_output: SpeechOutput | None = None,
    ref_image: Image | None = None,
) -> Begun:
    """Nothing yet, for a film of a person who moves with a sound, with HuMo."""
    films(ctx, vae)
    latent = empty(vae, batch_size, length, width, height)
    seen = torch.zeros_like(latent[:1, :, :1])
    if ref_image is not None:
        seen = vae.encode(sized(ref_image[:1], width, height), ctx.services.pool, check=ctx.check)
    positive = appended(positive, "reference_latents", seen)
    negative = appended(negative, "reference_latents", torch.zeros_like(seen))
    if audio_encoder_output is not None:
        states = audio_encoder_output["encoded_audio_all_layers"]
        if len(states) != WHISPER:
            raise BadInput(
                f"The sound is encoded into {len(states)} layers; HuMo hears {WHISPER}.",
                hint="Encode it with Whisper large v3 (whisper_large_v3_encoder).",
                node=ctx.node,
                input="audio_encoder_output",
            )
        sound = for_humo(states, audio_encoder_output["audio_samples"], length)
        silence = torch.zeros_like(sound)
    else:
        sound = silence = torch.zeros(1, latent.shape[2], 8, 5, 1280)
    return Begun(with_values(positive, audio_embed=sound), with_values(negative, audio_embed=silence), {"samples": latent})
