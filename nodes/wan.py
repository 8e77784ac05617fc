"""Nodes of Wan: what is known of a film, as each kind of net is shown it; and where tokens stand."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.latent import WAN, WAN22
from backend.engine.context import Context
from backend.families.wan.net import ROPE, RopeScale, WanSizes
from backend.families.wan.tracks import moved, places, read
from backend.graph.declare import Float, Int, Text, node
from backend.imaging.resize import resize
from nodes.camera import CameraRays
from nodes.conditioning import with_values
from nodes.conditioning_values import appended
from nodes.types import MAX_SIDE, ClipVisionOutput, Conditioning, Image, IntOut, Latent, Mask, Model, Vae

wan = partial(node, module="comfy_extras.nodes_wan", category="conditioning/video_models", form="v3")
USUAL_VAE = "Load the VAE of Wan 2.1 (wan_2.1_vae)."
CELL, SPAN = 8, 4
GREY = 0.5


class Begun(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent


def width_of(default: int = 832, step: int = 16) -> int:
    """The widget of a film's width."""
    widget: int = Int(default, min=step, max=MAX_SIDE, step=step)
    return widget


def height_of(default: int = 480, step: int = 16) -> int:
    """The widget of its height."""
    return width_of(default, step)


def length_of(default: int = 81) -> int:
    """The widget of its length in frames."""
    widget: int = Int(default, min=1, max=MAX_SIDE, step=SPAN)
    return widget


def batch_of() -> int:
    """The widget of how many films are made."""
    widget: int = Int(1, min=1, max=4096)
    return widget


def frames_of(length: int) -> int:
    """Latent frames of a film of so many frames."""
    return (length - 1) // SPAN + 1


def sized(images: Tensor, width: int, height: int, method: str = "bilinear") -> Tensor:
    """Pictures [B, H, W, C] as [B, height, width, 3], their middles; grey ones in three equal colours."""
    colours = images[..., :3] if images.shape[3] > 2 else images[..., :1].expand(-1, -1, -1, 3)
    return resize(colours.movedim(-1, 1), width, height, method, "center").movedim(1, -1)


def films(ctx: Context, vae: Any) -> None:
    """Raises BadInput for a VAE that makes no latents of films."""
    if not hasattr(vae, "encode_each"):
        raise BadInput(
            "There is no VAE of films on this wire.",
            hint="Load Wan's own: wan_2.1_vae.safetensors, or wan2.2_vae.safetensors for Wan 2.2 5B.",
            node=ctx.node,
            input="vae",
        )


def empty(vae: Any, batch: int, length: int, width: int, height: int) -> Tensor:
    """Nothing yet, as latents of this VAE."""
    return torch.zeros(batch, vae.channels, frames_of(length), height // vae.factor, width // vae.factor)


def void(like: Tensor) -> Tensor:
    """What the net sees as nothing, of the shape of `like`."""
    return (WAN22 if like.shape[1] == WAN22.channels else WAN).process_out(torch.zeros_like(like))


def by_fours(mask: Tensor) -> Tensor:
    """A mask of every frame [1, 1, 4 T, h, w] as [1, 4, T, h, w]."""
    return torch.unflatten(mask[:, 0], 1, (-1, SPAN)).transpose(1, 2)


def told(positive: Conditioning, negative: Conditioning, **values: Any) -> tuple[Conditioning, Conditioning]:
    """Both with these values; those that are None are left out."""
    known = {key: value for key, value in values.items() if value is not None}
    return (with_values(positive, **known), with_values(negative, **known)) if known else (positive, negative)


def put(film: Tensor, part: Tensor, channel: int = 0) -> None:
    """Lay a film's first frames into another, from a channel on."""
    count = min(film.shape[2], part.shape[2])
    film[:, channel : channel + part.shape[1], :count] = part[:, :, :count]


@wan("WanImageToVideo")
def wan_image_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(),
    batch_size: int = batch_of(),
    clip_vision_output: ClipVisionOutput | None = None,
    start_image: Image | None = None,
) -> Begun:
    """Nothing yet, for a film that begins with the given pictures."""
    films(ctx, vae)
    frames = frames_of(length)
    if start_image is not None:
        WAN.check_vae(vae.channels, "Wan 2.1", USUAL_VAE)
        first = sized(start_image[:length], width, height)
        film = torch.cat([first, torch.full((length - len(first), height, width, 3), GREY)])
        mask = torch.ones(1, 1, frames, height // CELL, width // CELL)
        mask[:, :, : (len(first) - 1) // SPAN + 1] = 0.0
        latent = vae.encode(film, ctx.services.pool, check=ctx.check)
        positive, negative = told(positive, negative, concat_latent_image=latent, concat_mask=mask)
    positive, negative = told(positive, negative, clip_vision_output=clip_vision_output)
    return Begun(positive, negative, {"samples": torch.zeros(batch_size, 16, frames, height // CELL, width // CELL)})


@wan("WanFirstLastFrameToVideo")
def wan_first_last_frame_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(),
    batch_size: int = batch_of(),
    clip_vision_start_image: ClipVisionOutput | None = None,
    clip_vision_end_image: ClipVisionOutput | None = None,
    start_image: Image | None = None,
    end_image: Image | None = None,
) -> Begun:
    """Nothing yet, for a film between the given pictures."""
    films(ctx, vae)
    latent = empty(vae, batch_size, length, width, height)
    film = torch.full((length, height, width, 3), GREY)
    mask = torch.ones(1, 1, latent.shape[2] * SPAN, *latent.shape[3:])
    if start_image is not None:
        first = sized(start_image[:length], width, height)
        film[: len(first)], mask[:, :, : len(first) + SPAN - 1] = first, 0.0
    if end_image is not None:
        last = sized(end_image[-length:], width, height)
        film[-len(last) :], mask[:, :, -len(last) :] = last, 0.0
    known = vae.encode(film, ctx.services.pool, check=ctx.check)
    seen: Any = clip_vision_start_image or clip_vision_end_image
    if clip_vision_start_image is not None and clip_vision_end_image is not None:
        first_seen, last_seen = clip_vision_start_image.penultimate_hidden_states, clip_vision_end_image.penultimate_hidden_states
        if first_seen.shape[-1] != last_seen.shape[-1]:
            raise BadInput(
                f"The first picture is encoded {first_seen.shape[-1]} wide, and the last {last_seen.shape[-1]}.",
                hint="Encode both with CLIP-ViT-H (clip_vision_h).",
                node=ctx.node,
                input="clip_vision_end_image",
            )
        seen = SimpleNamespace(penultimate_hidden_states=torch.cat([first_seen[:1], last_seen[:1]], dim=-2))
    positive, negative = told(positive, negative, concat_latent_image=known, concat_mask=by_fours(mask), clip_vision_output=seen)
    return Begun(positive, negative, {"samples": latent})


@wan("WanFunInpaintToVideo")
def wan_fun_inpaint_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(),
    batch_size: int = batch_of(),
    clip_vision_output: ClipVisionOutput | None = None,
    start_image: Image | None = None,
    end_image: Image | None = None,
) -> Begun:
    """Nothing yet, for a film between the given pictures, with Wan Fun InP."""
    made: Begun = wan_first_last_frame_to_video(
        ctx, positive=positive, negative=negative, vae=vae, width=width, height=height, length=length, batch_size=batch_size,
        clip_vision_start_image=clip_vision_output, start_image=start_image, end_image=end_image,
    )  # fmt: skip
    return made


@wan("WanFunControlToVideo")
def wan_fun_control_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(),
    batch_size: int = batch_of(),
    clip_vision_output: ClipVisionOutput | None = None,
    start_image: Image | None = None,
    control_video: Image | None = None,
) -> Begun:
    """Nothing yet, for a film that follows another (edges, poses, depth), with Wan Fun Control."""
    films(ctx, vae)
    latent = empty(vae, batch_size, length, width, height)
    film = _controlled(ctx, vae, latent, control_video, start_image, (width, height, length))
    positive, negative = told(positive, negative, concat_latent_image=film, clip_vision_output=clip_vision_output)
    return Begun(positive, negative, {"samples": latent})


def _controlled(ctx: Context, vae: Any, latent: Tensor, control: Tensor | None, start: Tensor | None, size: tuple[int, int, int]) -> Tensor:
    """Two films as latents behind each other along channels: the one to follow, and the pictures to begin with."""
    width, height, length = size
    film = torch.cat([void(latent[:1])] * 2, dim=1)
    for channel, pictures in ((0, control), (latent.shape[1], start)):
        if pictures is not None:
            put(film, vae.encode(sized(pictures[:length], width, height), ctx.services.pool, check=ctx.check), channel)
    return film


@wan("Wan22FunControlToVideo")
def wan22_fun_control_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(),
    batch_size: int = batch_of(),
    ref_image: Image | None = None,
    control_video: Image | None = None,
) -> Begun:
    """Nothing yet, for a film that follows another and looks like a picture, with Wan 2.2 Fun Control."""
    films(ctx, vae)
    latent = empty(vae, batch_size, length, width, height)
    film = _controlled(ctx, vae, latent, control_video, None, (width, height, length))
    mask = torch.ones(1, SPAN, *latent.shape[2:])
    positive, negative = told(positive, negative, concat_latent_image=film, concat_mask=mask, concat_mask_index=latent.shape[1])
    if ref_image is not None:
        reference = vae.encode(sized(ref_image[:1], width, height), ctx.services.pool, check=ctx.check)
        positive, negative = (appended(c, "reference_latents", reference) for c in (positive, negative))
    return Begun(positive, negative, {"samples": latent})


@wan("Wan22ImageToVideoLatent", category="conditioning/inpaint")
def wan22_image_to_video_latent(
    ctx: Context,
    *,
    vae: Vae,
    width: int = width_of(1280, 32),
    height: int = height_of(704, 32),
    length: int = length_of(49),
    batch_size: int = batch_of(),
    start_image: Image | None = None,
) -> Latent:
    """Nothing yet, for a film of Wan 2.2 5B that begins with the given pictures."""
    films(ctx, vae)
    WAN22.check_vae(vae.channels, "Wan 2.2 5B", "Load wan2.2_vae.safetensors.")
    latent = empty(vae, 1, length, width, height)
    if start_image is None:
        return {"samples": latent.repeat(batch_size, 1, 1, 1, 1)}
    film, mask = void(latent), torch.ones(1, 1, *latent.shape[2:])
    first = vae.encode(sized(start_image[:length], width, height), ctx.services.pool, check=ctx.check)
    put(film, first)
    mask[:, :, : first.shape[2]] = 0.0
    return {"samples": film.repeat(batch_size, 1, 1, 1, 1), "noise_mask": mask.repeat(batch_size, 1, 1, 1, 1)}


@wan("WanCameraImageToVideo")
def wan_camera_image_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(),
    batch_size: int = batch_of(),
    clip_vision_output: ClipVisionOutput | None = None,
    start_image: Image | None = None,
    camera_conditions: CameraRays | None = None,
) -> Begun:
    """Nothing yet, for a film that begins with the given pictures and is seen by a camera that moves."""
    films(ctx, vae)
    latent = empty(vae, batch_size, length, width, height)
    if start_image is not None:
        film, mask = void(latent[:1]), torch.ones(1, 1, latent.shape[2] * SPAN, *latent.shape[3:])
        first = sized(start_image[:length], width, height)
        put(film, vae.encode(first, ctx.services.pool, check=ctx.check))
        mask[:, :, : len(first) + SPAN - 1] = 0.0
        positive, negative = told(positive, negative, concat_latent_image=film, concat_mask=by_fours(mask))
    positive, negative = told(positive, negative, camera_conditions=camera_conditions, clip_vision_output=clip_vision_output)
    return Begun(positive, negative, {"samples": latent})


class Subjects(NamedTuple):
    positive: Conditioning
    negative_text: Conditioning
    negative_img_text: Conditioning
    latent: Latent


@wan("WanPhantomSubjectToVideo")
def wan_phantom_subject_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(),
    batch_size: int = batch_of(),
    images: Image | None = None,
) -> Subjects:
    """Nothing yet, for a film with the subjects of the pictures; one negative has the pictures, and one has none."""
    films(ctx, vae)
    latent = {"samples": empty(vae, batch_size, length, width, height)}
    if images is None:
        return Subjects(positive, negative, negative, latent)
    pictures = torch.split(sized(images[:length], width, height), 1)
    subjects = torch.cat([vae.encode(picture, ctx.services.pool, check=ctx.check) for picture in pictures], dim=2)
    return Subjects(
        with_values(positive, time_dim_concat=subjects),
        with_values(negative, time_dim_concat=subjects),
        with_values(negative, time_dim_concat=void(subjects)),
        latent,
    )


class Followed(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent
    trim_latent: IntOut


@wan("WanVaceToVideo")
def wan_vace_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(),
    batch_size: int = batch_of(),
    strength: float = Float(1.0, min=0.0, max=1000.0, step=0.01),
    control_video: Image | None = None,
    control_masks: Mask | None = None,
    reference_image: Image | None = None,
) -> Followed:
    """Nothing yet, for a film that follows or fills another: white in the masks is made anew. A picture to look at stands before it."""
    films(ctx, vae)
    pool, film = ctx.services.pool, torch.full((length, height, width, 3), GREY)
    if control_video is not None:
        given = sized(control_video[:length], width, height)
        film[: len(given)] = given
    mask = torch.ones(length, height, width, 1)
    if control_masks is not None:
        planes = control_masks.reshape(-1, 1, *control_masks.shape[-2:])
        drawn = resize(planes[:length], width, height, "bilinear", "center").movedim(1, -1)
        mask[: len(drawn)] = drawn
    parts = [(film - GREY) * kept + GREY for kept in (1 - mask, mask)]
    hint = torch.cat([vae.encode(part, pool, check=ctx.check) for part in parts], dim=1)
    top, left = height % CELL // 2, width % CELL // 2  # where the autoencoder cuts films to whole cells
    cut = mask[:, top : top + height // CELL * CELL, left : left + width // CELL * CELL, 0]
    cells = torch.nn.functional.pixel_unshuffle(cut.unsqueeze(1), CELL).transpose(0, 1).unsqueeze(0)
    cells = torch.nn.functional.interpolate(cells, size=(hint.shape[2], *cells.shape[3:]), mode="nearest-exact")
    before = 0
    if reference_image is not None:
        seen = vae.encode(sized(reference_image[:1], width, height), pool, check=ctx.check)
        before = seen.shape[2]
        hint = torch.cat([torch.cat([seen, void(seen)], dim=1), hint], dim=2)
        cells = torch.cat([torch.zeros_like(cells[:, :, :before]), cells], dim=2)
    for key, value in (("vace_frames", hint), ("vace_mask", cells), ("vace_strength", strength)):
        positive, negative = appended(positive, key, value), appended(negative, key, value)
    latent = torch.zeros(batch_size, vae.channels, hint.shape[2], height // CELL, width // CELL)
    return Followed(positive, negative, {"samples": latent}, before)


@wan("WanTrackToVideo")
def wan_track_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    tracks: str = Text("[]", multiline=True),
    width: int = width_of(),
    height: int = height_of(),
    length: int = length_of(),
    batch_size: int = batch_of(),
    temperature: float = Float(220.0, min=1.0, max=1000.0, step=0.1),
    topk: int = Int(2, min=1, max=10),
    start_image: Image,
    clip_vision_output: ClipVisionOutput | None = None,
) -> Begun:
    """Nothing yet, for a film that begins with a picture whose points move on given ways, with Wan ATI."""
    films(ctx, vae)
    try:
        ways = read(tracks)
    except BadInput as problem:
        raise problem.at(node=ctx.node) from problem.__cause__
    if not ways:
        made: Begun = wan_image_to_video(
            ctx, positive=positive, negative=negative, vae=vae, width=width, height=height, length=length, batch_size=batch_size,
            clip_vision_output=clip_vision_output, start_image=start_image,
        )  # fmt: skip
        return made
    WAN.check_vae(vae.channels, "Wan ATI", USUAL_VAE)
    latent = empty(vae, batch_size, length, width, height)
    first = sized(start_image[:batch_size], width, height)
    known: list[Tensor] = []
    for picture in first:
        film = torch.full((length, height, width, 3), GREY)
        film[0] = picture
        known.append(WAN.process_in(vae.encode(film, ctx.services.pool, check=ctx.check))[0])
    found = []
    for i in range(batch_size):
        ctx.check()
        where = places(ways[i % len(ways)], width, height, (latent.shape[2] - 1) * SPAN + 1)
        found.append(moved(known[i % len(known)], where, temperature, topk))
    shown = WAN.process_out(torch.stack([film for film, _ in found]))
    mask = 1 - torch.stack([seen for _, seen in found]).unsqueeze(1).expand(-1, SPAN, -1, -1, -1)
    positive, negative = told(positive, negative, concat_latent_image=shown, concat_mask=mask, clip_vision_output=clip_vision_output)
    return Begun(positive, negative, {"samples": latent})


def _scale() -> float:
    widget: float = Float(1.0, min=0.0, max=100.0, step=0.1)
    return widget


def _shift() -> float:
    widget: float = Float(0.0, min=-256.0, max=256.0, step=0.1)
    return widget


@node("ScaleROPE", category="advanced/model_patches", module="comfy_extras.nodes_rope", form="v3", experimental=True)
def scale_rope(
    ctx: Context,
    *,
    model: Model,
    scale_x: float = _scale(),
    shift_x: float = _shift(),
    scale_y: float = _scale(),
    shift_y: float = _shift(),
    scale_t: float = _scale(),
    shift_t: float = _shift(),
) -> Model:
    """Stretch and move the places where a net thinks its columns, rows and frames are."""
    if not isinstance(model.sizes, WanSizes):
        raise BadInput(
            f"The model is {model.family.name}; places can be stretched for Wan only.",
            hint="Remove the node.",
            node=ctx.node,
            input="model",
        )
    return model.with_tap(ROPE, RopeScale((scale_t, scale_y, scale_x), (shift_t, shift_y, shift_x)))
