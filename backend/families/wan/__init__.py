"""Wan 2.1 and 2.2: films from text, pictures, other films, poses, cameras, sounds; ChronoEdit, which changes a picture by a film of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from backend.diffusion.latent import WAN, WAN22
from backend.diffusion.noise import NoiseModel, flow_noise
from backend.diffusion.window import Along
from backend.encoders.t5.handle import T5Handle
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families import Family
from backend.families.joining import Joiner
from backend.families.wan import inputs as given
from backend.families.wan.animate import AnimateNet, AnimateSizes
from backend.families.wan.camera import CameraNet, CameraSizes
from backend.families.wan.humo import HumoNet, HumoSizes
from backend.families.wan.inputs import HOLES, LENGTH, latent_of
from backend.families.wan.names import from_diffusers, to_diffusers
from backend.families.wan.net import PATCH, WanNet, WanSizes
from backend.families.wan.sound import LISTENS, PER_FRAME, SoundNet, SoundSizes
from backend.families.wan.vace import VaceNet, VaceSizes
from backend.weights.detect import Signature, count
from backend.weights.file import Header

SHIFT = 8.0
_MARKS = ("patch_embedding.weight", "head.modulation", "blocks.0.self_attn.norm_q.weight", "text_embedding.0.weight")
VACE, CAMERA, ANIMATE = "vace_patch_embedding.weight", "control_adapter.conv.weight", "motion_encoder.dec.direction.weight"
SOUND, HUMO = "casual_audio_encoder.weights", "audio_proj.audio_proj_glob_1.layer.weight"
_OTHERS = (VACE, CAMERA, ANIMATE, SOUND, HUMO, "patch_embedding_pose.weight")
"""Marks of nets that are shown more than films."""


def sizes(header: Header) -> WanSizes:
    """Sizes from shapes. A head of 128 channels is every published net's; a narrower one has two."""
    width, shown = header["patch_embedding.weight"].shape[:2]
    seen, places, before = (header.get(key) for key in ("img_emb.proj.0.weight", "img_emb.emb_pos", "ref_conv.weight"))
    return WanSizes(
        channels=header["head.head.weight"].shape[0] // (PATCH * PATCH),
        shown=shown,
        width=width,
        heads=max(2, width // 128),
        layers=count(header, "blocks"),
        hidden=header["blocks.0.ffn.0.weight"].shape[0],
        context=header["text_embedding.0.weight"].shape[1],
        image=seen.shape[0] if seen is not None else None,
        positions=places.shape[1] if places is not None else None,
        reference=before.shape[1] if before is not None else None,
    )


def vace_sizes(header: Header) -> VaceSizes:
    """And those of the blocks that look."""
    return VaceSizes(**asdict(sizes(header)), hints=header[VACE].shape[1], looking=count(header, "vace_blocks"))


def camera_sizes(header: Header) -> CameraSizes:
    """And those of the adapter for rays."""
    return CameraSizes(**asdict(sizes(header)), rays=header[CAMERA].shape[1])


def animate_sizes(header: Header) -> AnimateSizes:
    """And those of what looks at faces."""
    convs = "motion_encoder.enc.net_app.convs"
    last = count(header, convs) - 1
    hidden, motion = header["face_encoder.conv2.conv.weight"].shape[0], header[ANIMATE].shape
    return AnimateSizes(
        **asdict(sizes(header)),
        faces=(header[f"{convs}.0.0.weight"].shape[0], *(header[f"{convs}.{i}.conv2.1.weight"].shape[0] for i in range(1, last))),
        style=header[f"{convs}.{last}.weight"].shape[0],
        motions=motion[1],
        motion=motion[0],
        hidden_face=hidden,
        tokens=header["face_encoder.conv1_local.conv.weight"].shape[0] // hidden,
        looks=count(header, "face_adapter.fuser_blocks"),
        flat=len(header[f"{convs}.0.1.bias"].shape) == 1,
    )


def sound_sizes(header: Header) -> SoundSizes:
    """And those of what hears; nets of other depths than the published one hear after their first blocks."""
    base, inside = sizes(header), "casual_audio_encoder.encoder"
    hears = count(header, "audio_injector.injector")
    return SoundSizes(
        **asdict(base),
        sound=header[f"{inside}.conv1_local.conv.weight"].shape[1],
        states=header[SOUND].shape[1],
        tokens=header[f"{inside}.conv1_local.conv.weight"].shape[0] // header[f"{inside}.conv2.conv.weight"].shape[1],
        listens=LISTENS if hears == len(LISTENS) and base.layers > LISTENS[-1] else tuple(range(hears)),
    )


def humo_sizes(header: Header) -> HumoSizes:
    """And those of what hears. A moment has five states of the sound encoder, of which eight are heard together."""
    hidden, heard = header[HUMO].shape, header["audio_proj.audio_proj_glob_norm.layer.weight"].shape[0]
    usual = HumoSizes()
    return HumoSizes(
        **asdict(sizes(header)),
        sound=hidden[1] // (usual.moments * usual.states),
        hidden_sound=hidden[0],
        tokens=header["audio_proj.audio_proj_glob_3.layer.weight"].shape[0] // heard,
        heard=heard,
    )


def takes(channels: int, *more: int) -> Callable[[Header], bool]:
    """A net that makes so many channels and is shown one of so many beside them."""

    def matches(header: Header) -> bool:
        made = header["head.head.weight"].shape[0] // (PATCH * PATCH) if "head.head.weight" in header else channels
        return header["patch_embedding.weight"].shape[1] - channels in more and made == channels and header["head.modulation"].shape[1] == 2

    return matches


def noise(facts: Mapping[str, str]) -> NoiseModel:
    return flow_noise(SHIFT)


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net; what is known of the film is joined to x along channels."""
    rest = dict(kwargs)
    concat = rest.pop("concat", None)
    if concat is not None:
        x = torch.cat([x, concat.to(x.dtype)], dim=1)
    out: Tensor = net(x, t, **rest)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: tokens' states, queries, keys and values twice, and the perceptron's inner layer twice.

    What is looked at has tokens of its own, and so have clocks of many frames.
    """
    assert isinstance(sizes, WanSizes)
    frames = shape[2] if len(shape) == 5 else 1
    tokens = shape[0] * (frames * shape[-2] * shape[-1] // PATCH**2 + LENGTH)
    states = 14 if isinstance(sizes, VaceSizes | SoundSizes) else 10
    return tokens * (states * sizes.width + 2 * sizes.hidden) * 4


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    if len(encoders) != 1 or not isinstance(encoders[0], T5Handle) or encoders[0].branch not in ("umt5xxl", "umt5base"):
        return None
    return replace(encoders[0], min_length=LENGTH, masked=True, zeroed=True)


TEXT = Joiner("Wan", "UMT5 XXL", ("wan",), _join)
FILM, FILM22 = WAN.channels, WAN22.channels
FROM_TEXT = Family(
    name="Wan",
    signature=Signature(has=_MARKS, lacks=_OTHERS, where=takes(FILM, 0)),
    latent=WAN,
    latent_of=latent_of,
    sizes=sizes,
    build=WanNet,
    noise=noise,
    inputs=given.inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=TEXT,
)


def _kind(name: str, channels: int, *more: int, **changes: Any) -> Family:
    """The same for nets that are shown more beside the film."""
    return replace(FROM_TEXT, name=name, signature=replace(FROM_TEXT.signature, where=takes(channels, *more)), **changes)


def _marked(name: str, mark: str, build: Any, sizes: Any, inputs: Any, **along: Along) -> Family:
    """The same for nets with a mark of their own."""
    lacks = tuple(key for key in _OTHERS if key != mark)
    return replace(FROM_TEXT, name=name, signature=Signature((*_MARKS, mark), lacks), build=build, sizes=sizes, inputs=inputs, along=along)


FROM_PICTURE = _kind("Wan image to video", FILM, HOLES + FILM)
CONTROLLED = _kind("Wan Fun control", FILM, 2 * FILM, HOLES + 2 * FILM)
WAN_22_5B = _kind("Wan 2.2 5B", FILM22, 0, HOLES + FILM22, HOLES + 2 * FILM22, keeps_clean=True)
LOOKING = _marked("Wan VACE", VACE, VaceNet, vace_sizes, given.vace)
MOVED = _marked("Wan Fun camera", CAMERA, CameraNet, camera_sizes, given.camera)
ANIMATED = _marked("Wan Animate", ANIMATE, AnimateNet, animate_sizes, given.animate, faces=Along(dim=2, each=PER_FRAME, first=1))
SPOKEN = _marked("Wan S2V", SOUND, SoundNet, sound_sizes, given.sound, states=Along(dim=3, each=PER_FRAME))
HUMAN = _marked("HuMo", HUMO, HumoNet, humo_sizes, given.humo, sound=Along(dim=1))

FAMILIES = (FROM_TEXT, FROM_PICTURE, CONTROLLED, WAN_22_5B, LOOKING, MOVED, ANIMATED, SPOKEN, HUMAN)
