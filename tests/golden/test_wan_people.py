"""Wan's nets that diffusers lacks (S2V, HuMo, cameras, subjects, references), put together from its blocks and plain layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from diffusers.models.normalization import AdaLayerNorm
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor, nn
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.latent import WAN
from backend.families.wan.humo import HumoSizes
from backend.families.wan.inputs import GREY
from backend.families.wan.sound import SoundSizes
from tests.families import nets
from tests.golden.wans import TEXT, apart, lively, loaded, plain, prompt, run, shown_some, single

NEAR, WIDTH = 1e-5, 64
After = Callable[[int, Tensor], Tensor]


def places(frames: Tensor, rows: int, columns: int, steps: tuple[int, int] | None = None) -> Tensor:
    """Frame, row and column of tokens."""
    tall, wide = steps or (rows, columns)
    return torch.cartesian_prod(frames.double(), torch.linspace(0, rows - 1, tall).double(), torch.linspace(0, columns - 1, wide).double())


def tower(theirs: WanTransformer3DModel, h: Tensor, at: Tensor, times: Tensor, text: Tensor, after: After | None = None) -> Tensor:
    """Their blocks over tokens h [1, L, width] at places [L, 3] and times [1, L], and their head: [1, L, 4 * channels]."""
    embedder = theirs.condition_embedder
    time, every, context, _ = embedder(times.flatten(), prompt(text), None, timestep_seq_len=times.shape[1])
    parts = [get_1d_rotary_pos_embed(size, at[:, axis], 10000.0, use_real=True, repeat_interleave_real=True, freqs_dtype=torch.float64)
             for axis, size in enumerate((12, 10, 10))]  # fmt: skip
    rope = tuple(torch.cat([part[i] for part in parts], dim=1)[None, :, None] for i in (0, 1))
    for i, block in enumerate(theirs.blocks):
        h = block(h, context, every.unflatten(2, (6, -1)), rope)
        h = after(i, h) if after is not None else h
    shift, scale = (theirs.scale_shift_table.unsqueeze(0) + time.unsqueeze(2)).chunk(2, dim=2)
    out: Tensor = theirs.proj_out(theirs.norm_out(h) * (1 + scale.squeeze(2)) + shift.squeeze(2))
    return out


def film(tokens: Tensor, frames: int, rows: int, columns: int) -> Tensor:
    """Tokens as a film [1, C, T, H, W]."""
    made = tokens.reshape(1, frames, rows, columns, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5)
    return made.reshape(1, made.shape[1], frames, rows * 2, columns * 2)


def cells(embedding: nn.Module, x: Tensor) -> Tensor:
    made: Tensor = embedding(x).flatten(2).transpose(1, 2)
    return made


def attending() -> WanAttention:
    return WanAttention(WIDTH, 2, 32, eps=1e-6, processor=WanAttnProcessor())


class Past(nn.Module):
    """A convolution that looks back in time."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(cin, cout, 3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (2, 0), mode="replicate"))
        return out


class Sound(nn.Module):
    """What S2V has besides, under the names of its file."""

    def __init__(self, states: int = 3, sound: int = 10, heads: int = 2) -> None:
        super().__init__()
        self.trainable_cond_mask = nn.Embedding(3, WIDTH)
        self.cond_encoder = nn.Conv3d(16, WIDTH, (1, 2, 2), stride=(1, 2, 2))
        self.casual_audio_encoder = nn.Module()
        self.casual_audio_encoder.weights = nn.Parameter(torch.rand(1, states, 1, 1) + 0.1)
        self.casual_audio_encoder.encoder = encoder = nn.Module()
        encoder.conv1_local, encoder.conv1_global = Past(sound, WIDTH // 4 * heads), Past(sound, WIDTH // 4)
        encoder.conv2, encoder.conv3 = Past(WIDTH // 4, WIDTH // 2, 2), Past(WIDTH // 2, WIDTH, 2)
        encoder.final_linear, encoder.padding_tokens = nn.Linear(WIDTH, WIDTH), nn.Parameter(torch.randn(1, 1, 1, WIDTH))
        self.audio_injector = nn.Module()
        self.audio_injector.injector = nn.ModuleList(attending() for _ in range(2))
        self.audio_injector.injector_adain_layers = nn.ModuleList(AdaLayerNorm(WIDTH, output_dim=2 * WIDTH, chunk_dim=1) for _ in range(2))
        self.frame_packer = nn.Module()
        for name, time in (("proj", 1), ("proj_2x", 2), ("proj_4x", 4)):
            size = (time, 2 * time, 2 * time)
            setattr(self.frame_packer, name, nn.Conv3d(16, WIDTH, size, stride=size))

    def hear(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """[1, states, sound, moments] -> [frames, 1, width], [frames, tokens, width]."""
        e, weights = self.casual_audio_encoder.encoder, F.silu(self.casual_audio_encoder.weights)
        mean = ((states * weights) / weights.sum(dim=1, keepdim=True)).sum(dim=1)

        def settled(x: Tensor) -> Tensor:
            return F.silu(F.layer_norm(x.transpose(1, 2), (x.shape[1],), eps=1e-6)).transpose(1, 2)

        local = e.conv1_local(mean).reshape(2, WIDTH // 4, -1)
        local, everywhere = (settled(e.conv3(settled(e.conv2(settled(x))))).transpose(1, 2) for x in (local, e.conv1_global(mean)))
        return e.final_linear(everywhere)[0], torch.cat([local.transpose(0, 1), e.padding_tokens[0].expand(local.shape[1], 1, -1)], dim=1)

    def weights(self) -> dict[str, Tensor]:
        spelled = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o"}
        made = {}
        for key, value in self.state_dict().items():
            for theirs, ours in spelled.items():
                key = key.replace(f".{theirs}.", f".{ours}.")
            made[key] = value
        return made


@torch.no_grad()
def test_s2v(tmp_path: Path) -> None:
    theirs = plain()
    more: Sound = lively(Sound())
    weights = single(theirs) | more.weights()
    model = loaded(weights, tmp_path)
    assert model.family.name == "Wan S2V" and nets.knowing(weights) == ["Wan S2V"]
    assert model.sizes == SoundSizes(16, 16, 64, 2, 2, 48, TEXT, sound=10, states=3, tokens=2, listens=(0, 1))
    x, t, text = torch.randn(1, 16, 2, 8, 16), torch.tensor([600.0]), torch.randn(1, 9, TEXT)
    states, poses, person, before = (
        torch.randn(1, 3, 10, 8),
        torch.randn(1, 16, 2, 8, 16),
        torch.randn(1, 16, 1, 8, 16),
        torch.randn(1, 16, 5, 8, 16),
    )
    kinds, pack = more.trainable_cond_mask.weight, more.frame_packer
    h = cells(theirs.patch_embedding, x) + cells(more.cond_encoder, WAN.process_in(poses)) + kinds[0]
    ref = cells(theirs.patch_embedding, WAN.process_in(person)) + kinds[1]
    past = F.pad(WAN.process_in(before), (0, 0, 0, 0, 14, 0))
    packed = [cells(pack.proj, past[:, :, 18:]), cells(pack.proj_2x, past[:, :, 16:18]), cells(pack.proj_4x, past[:, :, :16])]
    at = torch.cat([
        places(torch.arange(2), 4, 8), places(torch.tensor([30]), 4, 8), places(torch.tensor([-1]), 4, 8),
        places(torch.tensor([-3]), 4, 8, (2, 4)), places(torch.arange(-19, -15), 4, 8, (1, 2)),
    ])  # fmt: skip
    line = torch.cat([h, ref, *(part + kinds[2] for part in packed)], dim=1)
    times = torch.cat([t.expand(h.shape[1]), torch.zeros(line.shape[1] - h.shape[1])])[None]
    everywhere, tokens = more.hear(states)

    def heard(i: int, h: Tensor) -> Tensor:
        frames = h[:, :64].reshape(2, 32, WIDTH)
        asked = more.audio_injector.injector_adain_layers[i](frames, temb=everywhere)
        said = more.audio_injector.injector[i](asked, tokens).reshape(1, 64, WIDTH)
        return torch.cat([h[:, :64] + said, h[:, 64:]], dim=1)

    expected = film(tower(theirs, line, at, times, text, heard)[:, :64], 2, 4, 8)
    told = {"audio_embed": states, "control_video": poses, "reference_latents": [person], "reference_motion": before}
    assert apart(run(model, x, t, cross_attn=text, **told), expected) < NEAR
    silent = film(tower(theirs, cells(theirs.patch_embedding, x) + kinds[0], at[:64], t.expand(1, 64), text), 2, 4, 8)
    assert apart(run(model, x, t, cross_attn=text), silent) < NEAR
    later = run(model, x[:, :, 1:], t, cross_attn=text, audio_embed=states[..., 4:])
    assert apart(shown_some(model, x, t, [1], cross_attn=text, audio_embed=states), later) < NEAR
    silence = run(model, x[:, :, 1:], t, cross_attn=text, audio_embed=states[..., :4] * 0)
    assert apart(shown_some(model, x, t, [1], cross_attn=text, audio_embed=states[..., :4]), silence) < NEAR
    with pytest.raises(BadInput, match="hears 3 layers that are 10 wide"):
        run(model, x, t, cross_attn=text, audio_embed=torch.zeros(1, 3, 9, 8))


@torch.no_grad()
@pytest.mark.parametrize("large", [False, True])
def test_humo(large: bool, tmp_path: Path) -> None:
    theirs = plain(in_channels=36 if large else 16)
    hear = lively(nn.ModuleDict({
        "1": nn.Linear(8 * 5 * 6, 7), "2": nn.Linear(7, 7), "3": nn.Linear(7, 3 * 12), "norm": nn.LayerNorm(12)
    }))  # fmt: skip
    looks = lively(nn.ModuleList(nn.ModuleDict({"norm": nn.LayerNorm(WIDTH, 1e-6), "attention": attending()})
                                 for _ in range(2)))  # fmt: skip
    for look in looks:  # a sound is as wide as it is
        look["attention"].to_k, look["attention"].to_v = nn.Linear(12, WIDTH), nn.Linear(12, WIDTH)
    weights = single(theirs) | {f"audio_proj.audio_proj_glob_{k.replace('.', '.layer.')}": v for k, v in hear.state_dict().items()}
    spelled = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o", "norm_q": "norm_q", "norm_k": "norm_k"}
    for i, look in enumerate(looks):
        start = f"blocks.{i}.audio_cross_attn_wrapper"
        weights |= {f"{start}.norm1_audio.{k}": v for k, v in look["norm"].state_dict().items()}
        for key, value in look["attention"].state_dict().items():
            part, _, leaf = key.rpartition(".")
            weights[f"{start}.audio_cross_attn.{spelled[part]}.{leaf}"] = value
    model = loaded(weights, tmp_path)
    assert model.family.name == "HuMo" and nets.knowing(weights) == ["HuMo"]
    assert model.sizes == HumoSizes(16, 36 if large else 16, 64, 2, 2, 48, TEXT, sound=6, hidden_sound=7, tokens=3, heard=12)
    x, t, text = torch.randn(1, 16, 4, 4, 6), torch.tensor([600.0]), torch.randn(1, 9, TEXT)
    sound, person = torch.randn(1, 4, 8, 5, 6), torch.randn(1, 16, 1, 4, 6)
    shown, ref = x, WAN.process_in(person)
    if large:
        grey = torch.tensor(GREY)[[0, 1, 2, 2]].T.reshape(1, 16, 4, 1, 1).expand(-1, -1, -1, 4, 6)
        shown = torch.cat([x, torch.zeros(1, 4, 4, 4, 6), grey], dim=1)
        ref = torch.cat([torch.zeros_like(ref), torch.ones(1, 4, 1, 4, 6), ref], dim=1)
    line = torch.cat([cells(theirs.patch_embedding, shown), cells(theirs.patch_embedding, ref)], dim=1)
    padded = torch.cat([sound, torch.zeros(1, 1, 8, 5, 6)], dim=1).flatten(2)
    audio = hear["norm"](hear["3"](F.relu(hear["2"](F.relu(hear["1"](padded))))).unflatten(2, (3, 12)))[0]
    kept: dict[str, Tensor] = {}
    for block, look in zip(theirs.blocks, looks, strict=True):  # after it heard the text, a block hears the sound
        block.norm2.register_forward_pre_hook(lambda _, args: kept.update(h=args[0]))

        def hearing(_: Any, args: Any, out: Tensor, look: Any = look) -> Tensor:
            h = kept["h"] + out
            return out + look["attention"](look["norm"](h).reshape(5, 6, WIDTH), audio).reshape(1, 30, WIDTH)

        block.attn2.register_forward_hook(hearing)
    expected = film(tower(theirs, line, places(torch.arange(5), 2, 3), t.expand(1, 30), text)[:, :24], 4, 2, 3)
    told = {"audio_embed": sound, "reference_latents": [person]}
    assert apart(run(model, x, t, cross_attn=text, **told), expected) < NEAR
    if not large:
        later = run(model, x[:, :, 2:], t, cross_attn=text, **{**told, "audio_embed": sound[:, 2:]})
        assert apart(shown_some(model, x, t, [2, 3], cross_attn=text, **told), later) < NEAR
    with pytest.raises(BadInput, match="Whisper large v3"):
        run(model, x, t, cross_attn=text, audio_embed=torch.zeros(1, 4, 8, 5, 7))


@torch.no_grad()
def test_camera(tmp_path: Path) -> None:
    theirs = plain(in_channels=32)
    adapter = lively(nn.ModuleDict({
        "conv": nn.Conv2d(64 * 6, WIDTH, 2, stride=2), "conv1": nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        "conv2": nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
    }))  # fmt: skip
    named = {k if k.startswith("conv.") else f"residual_blocks.0.{k}": v for k, v in adapter.state_dict().items()}
    weights = single(theirs) | {f"control_adapter.{key}": value for key, value in named.items()}
    model = loaded(weights, tmp_path)
    assert model.family.name == "Wan Fun camera" and nets.knowing(weights) == ["Wan Fun camera"] and model.sizes.rays == 384
    x, t, text = torch.randn(1, 16, 2, 4, 6), torch.tensor([600.0]), torch.randn(1, 9, TEXT)
    known, rays = torch.randn(1, 16, 2, 4, 6), torch.randn(1, 6, 2, 32, 48)

    def laid(_: Any, args: Any, out: Tensor) -> Tensor:
        made = adapter["conv"](F.pixel_unshuffle(rays[0].transpose(0, 1), 8))
        made = made + adapter["conv2"](F.relu(adapter["conv1"](made)))
        return out + made.transpose(0, 1).unsqueeze(0)

    theirs.patch_embedding.register_forward_hook(laid)
    expected = theirs(torch.cat([x, WAN.process_in(known)], dim=1), t, prompt(text)).sample
    got = run(model, x, t, cross_attn=text, concat_latent_image=known, concat_mask=torch.ones(1, 4, 2, 4, 6), camera_conditions=rays)
    assert apart(got, expected) < NEAR
    with pytest.raises(BadInput, match="for 2 latent frames of 32x32 pixels, and the film is 2 of 48x32"):
        run(model, x, t, cross_attn=text, camera_conditions=rays[..., :32])


@torch.no_grad()
def test_a_picture_before_the_film_and_what_is_to_be_followed(tmp_path: Path) -> None:
    """Wan 2.2 Fun Control: films and a mask between them, and a picture to look like."""
    theirs = plain(in_channels=52)
    before = lively(nn.Conv2d(16, WIDTH, 2, stride=2))
    weights = single(theirs) | {f"ref_conv.{key}": value for key, value in before.state_dict().items()}
    model = loaded(weights, tmp_path)
    assert model.family.name == "Wan Fun control" and nets.knowing(weights) == ["Wan Fun control"] and model.sizes.reference == 16
    x, t, text = torch.randn(1, 16, 2, 4, 6), torch.tensor([600.0]), torch.randn(1, 9, TEXT)
    films, mask, seen = torch.randn(1, 32, 2, 4, 6), torch.rand(1, 4, 2, 4, 6), torch.randn(1, 16, 1, 4, 6)
    shown = torch.cat([x, WAN.process_in(films[:, :16]), 1 - mask, WAN.process_in(films[:, 16:])], dim=1)
    first = before(WAN.process_in(seen)[:, :, 0]).flatten(2).transpose(1, 2)
    line = torch.cat([first, cells(theirs.patch_embedding, shown)], dim=1)
    expected = film(tower(theirs, line, places(torch.arange(3), 2, 3), t.expand(1, 18), text)[:, 6:], 2, 2, 3)
    told = {"concat_latent_image": films, "concat_mask": mask, "concat_mask_index": 16}
    assert apart(run(model, x, t, cross_attn=text, reference_latents=[seen], **told), expected) < NEAR
    assert apart(run(model, x, t, cross_attn=text, **told), theirs(shown, t, prompt(text)).sample) < NEAR
    with pytest.raises(BadInput, match="is shown 36 channels beside the film, but there are 16"):
        run(model, x, t, cross_attn=text, concat_latent_image=films[:, :16])


@torch.no_grad()
def test_subjects_follow_the_film(tmp_path: Path) -> None:
    theirs = plain()
    model = loaded(single(theirs), tmp_path)
    x, t, text, subjects = torch.randn(1, 16, 2, 4, 6), torch.tensor([600.0]), torch.randn(1, 9, TEXT), torch.randn(1, 16, 3, 4, 6)
    expected = theirs(torch.cat([x, WAN.process_in(subjects)], dim=2), t, prompt(text)).sample[:, :, :2]
    assert apart(run(model, x, t, cross_attn=text, time_dim_concat=subjects), expected) < NEAR
    with pytest.raises(BadInput, match="works on latents of 16 channels"):
        run(model, x, t, cross_attn=text, time_dim_concat=torch.zeros(1, 4, 1, 4, 6))
