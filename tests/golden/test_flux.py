"""Flux and its relatives against diffusers: one call of each net from files of either spelling, and whole sampled latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.guiders import BasicGuider, CfgGuider
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.diffusion.schedules import schedule
from backend.families import shelf
from backend.families.load import load_diffusion_model
from backend.memory.pool import Pool
from backend.nn.patchify import to_picture, to_tokens
from nodes.model_advanced import model_sampling_flux
from nodes.schedules_more import flux2_scheduler
from tests.families import fluxes, tiny
from tests.families.fluxes import POOLED, TEXT
from tests.families.waits import unasked
from tests.nodes.bench import Bench

CLOSE, WHOLE = 1e-5, 1e-4
STEPS = 4


def ids(height: int, width: int, number: int = 0, row: int = 0, column: int = 0) -> Tensor:
    """Places of a picture's tokens as diffusers counts them."""
    rows, columns = torch.meshgrid(torch.arange(height) + row, torch.arange(width) + column, indexing="ij")
    return torch.stack([torch.full_like(rows, number), rows, columns], -1).reshape(-1, 3).float()


def packed(x: Tensor, patch: int = 2) -> Tensor:
    return to_tokens(x, patch, channels_last=False)


def unscaled(x: Tensor) -> Tensor:
    """A latent of Flux as its autoencoder gives it."""
    return x / 0.3611 + 0.1159


def run(path: Path, cond: dict[str, Any], x: Tensor, tmp: Path, name: str, sigma: float = 0.7) -> Tensor:
    """One call of the net in a file, which exactly one family knows, told what sampling would tell it."""
    model = load_diffusion_model(path, tiny.services(tmp))
    header = model.loadable.source.file  # type: ignore[attr-defined]
    assert [family.name for family in shelf() if family.signature.matches(header)] == [model.family.name] == [name]
    told = model.family.inputs([cond], model.sizes, x.shape)
    with torch.no_grad(), Pool("cpu").lease(model.leasable()) as net:
        time = torch.tensor([sigma] * len(x))
        with unasked(x, time, told):
            return model.family.forward(net, x, time, told)


X, CONTEXT, PICTURE = torch.randn(1, 16, 6, 8), torch.randn(1, 5, TEXT), torch.randn(1, 16, 4, 4)
TIME = torch.tensor([0.7])


@pytest.mark.parametrize(
    ("kind", "layout"), [("Flux", "single"), ("Flux", "folder"), ("Flux Schnell", "checkpoint"), ("Flux Schnell", "folder")]
)
@torch.no_grad()
def test_flux(kind: str, layout: str, tmp_path: Path) -> None:
    pooled = torch.randn(1, POOLED)
    cond = {"cross_attn": CONTEXT, "pooled_output": pooled, "guidance": 2.5, "reference_latents": [unscaled(PICTURE)]}
    got = run(fluxes.saved(kind, tmp_path, layout), cond, X, tmp_path, kind)
    told = torch.tensor([2.5]) if kind == "Flux" else None
    both = torch.cat([packed(X), packed(PICTURE)], 1)
    want = fluxes.net(kind)(both, CONTEXT, pooled, TIME, torch.cat([ids(3, 4), ids(2, 2, 1)]), torch.zeros(5, 3), told).sample
    assert (packed(got) - want[:, :12]).abs().max() < CLOSE


@pytest.mark.parametrize("layout", ["single", "folder"])
@torch.no_grad()
def test_chroma(layout: str, tmp_path: Path) -> None:
    got = run(fluxes.saved("Chroma", tmp_path, layout), {"cross_attn": CONTEXT}, X, tmp_path, "Chroma")
    padded, mask = torch.cat([CONTEXT, torch.randn(1, 3, TEXT)], 1), torch.tensor([[1] * 5 + [0] * 3 + [1] * 12]).bool()
    want = fluxes.net("Chroma")(packed(X), padded, TIME, ids(3, 4), torch.zeros(8, 3), mask).sample
    assert (packed(got) - want).abs().max() < CLOSE


@pytest.mark.parametrize(("layout", "guided"), [("single", True), ("folder", False)])
@torch.no_grad()
def test_flux2(layout: str, guided: bool, tmp_path: Path) -> None:
    x, picture = torch.randn(1, 128, 3, 4), torch.randn(1, 128, 2, 2)
    cond = {"cross_attn": CONTEXT, "guidance": 2.5, "reference_latents": [picture, picture]}
    got = run(fluxes.saved("Flux 2", tmp_path, layout, guidance_embeds=guided), cond, x, tmp_path, "Flux 2")
    img = torch.nn.functional.pad(torch.cat([ids(3, 4), ids(2, 2, 10), ids(2, 2, 20)]), (0, 1))
    txt = torch.nn.functional.pad(torch.arange(5.0)[:, None], (3, 0))
    theirs, told = fluxes.net("Flux 2", guidance_embeds=guided), torch.tensor([2.5]) if guided else None
    want = theirs(torch.cat([packed(p, 1) for p in (x, picture, picture)], 1), CONTEXT, TIME, img, txt, told).sample
    assert (packed(got, 1) - want[:, :12]).abs().max() < CLOSE


@pytest.mark.parametrize("layout", ["single", "folder"])
@torch.no_grad()
def test_longcat(layout: str, tmp_path: Path) -> None:
    cond = {"cross_attn": CONTEXT, "reference_latents": [unscaled(PICTURE)]}
    got = run(fluxes.saved("LongCat-Image", tmp_path, layout), cond, X, tmp_path, "LongCat-Image")
    both = torch.cat([ids(3, 4, 1, 512, 512), ids(2, 2, 2, 512, 512)])
    txt = torch.arange(5.0)[:, None] * torch.tensor([0.0, 1, 1])
    want = fluxes.net("LongCat-Image")(torch.cat([packed(X), packed(PICTURE)], 1), CONTEXT, TIME, both, txt).sample
    assert (packed(got) - want[:, :12]).abs().max() < CLOSE


@torch.no_grad()
def test_shown_pictures(tmp_path: Path) -> None:
    """Canny and Depth are shown one more latent, Fill a latent and the mask's 64 pixels a cell, as diffusers packs them."""
    cond: dict[str, Any] = {
        "cross_attn": CONTEXT,
        "pooled_output": torch.zeros(1, POOLED),
        "concat_latent_image": unscaled(torch.randn_like(X)),
    }
    seen, mask = (cond["concat_latent_image"] - 0.1159) * 0.3611, (torch.rand(1, 48, 64) > 0.5).float()
    told = (CONTEXT, torch.zeros(1, POOLED), TIME, ids(3, 4), torch.zeros(5, 3), torch.tensor([3.5]))
    following, fill = (dict[str, Any](in_channels=channels, out_channels=64) for channels in (128, 384))
    (tmp_path / "a").mkdir()
    got = run(fluxes.saved("Flux", tmp_path, **following), cond, X, tmp_path, "Flux Canny or Depth")
    want = fluxes.net("Flux", **following)(torch.cat([packed(X), packed(seen)], 2), *told).sample
    assert (packed(got) - want).abs().max() < CLOSE
    got = run(fluxes.saved("Flux", tmp_path / "a", **fill), cond | {"concat_mask": mask}, X, tmp_path, "Flux Fill")
    cells = mask.view(1, 6, 8, 8, 8).permute(0, 2, 4, 1, 3).reshape(1, 64, 6, 8)
    want = fluxes.net("Flux", **fill)(torch.cat([packed(X), packed(seen), packed(cells)], 2), *told).sample
    assert (packed(got) - want).abs().max() < CLOSE


def pipeline(name: str, net: Any, **more: Any) -> Any:
    shifting: Any = diffusers.FlowMatchEulerDiscreteScheduler
    none = dict.fromkeys(("vae", "text_encoder", "tokenizer"))
    made = getattr(diffusers, name)(transformer=net, scheduler=shifting(use_dynamic_shifting=True), **none, **more)
    made.set_progress_bar_config(disable=True)
    return made


SIZE = {"height": 64, "width": 64, "num_inference_steps": STEPS, "output_type": "latent"}


def ours(kind: str, tmp_path: Path, positive: list[Any], noise: Tensor, cfg: float = 1.0, negative: Any = (), sigmas: Any = None) -> Tensor:
    """The final latent as the net sees it, at the shift for its size."""
    model = load_diffusion_model(fluxes.saved(kind, tmp_path), tiny.services(tmp_path))
    ctx = Bench(tmp_path / "home").context()
    model = model_sampling_flux(ctx, model=model, max_shift=1.15, base_shift=0.5, width=64, height=64)
    guider = CfgGuider(model, positive, list(negative), cfg) if negative else BasicGuider(model, positive)
    sigmas = schedule("simple", model.noise, STEPS) if sigmas is None else sigmas
    made = sample(guider, noise, torch.zeros_like(noise), solver("euler"), sigmas, pool=Pool("cpu"))
    return model.family.latent.process_in(made)


NOISE = prepare_noise(torch.zeros(1, 16, 8, 8), 7)


def far(got: Tensor, theirs: Any, patch: int = 2) -> float:
    height, width = got.shape[-2:]
    return float((got - to_picture(theirs.images, height, width, patch, channels_last=False)).abs().max())


def test_whole_flux(tmp_path: Path) -> None:
    """Text to image, and Kontext's picture to look at."""
    pooled, prompt = torch.randn(1, POOLED), torch.randn(1, 6, TEXT)
    none = {"text_encoder_2": None, "tokenizer_2": None}
    told = {"pooled_output": pooled, "guidance": 3.0}
    given = {"prompt_embeds": prompt, "pooled_prompt_embeds": pooled, "guidance_scale": 3.0, "latents": packed(NOISE), **SIZE}
    plain = pipeline("FluxPipeline", fluxes.net("Flux"), **none)(**given)
    assert far(ours("Flux", tmp_path, [[prompt, told]], NOISE), plain) < WHOLE
    looking = pipeline("FluxKontextPipeline", fluxes.net("Flux"), **none)(image=PICTURE, max_area=64 * 64, _auto_resize=False, **given)
    got = ours("Flux", tmp_path, [[prompt, told | {"reference_latents": [unscaled(PICTURE)]}]], NOISE)
    assert far(got, looking) < WHOLE and far(got, plain) > WHOLE


def test_whole_chroma(tmp_path: Path) -> None:
    prompt, negative = torch.randn(1, 6, TEXT), torch.randn(1, 4, TEXT)
    want = pipeline("ChromaPipeline", fluxes.net("Chroma"))(
        prompt_embeds=prompt, prompt_attention_mask=torch.ones(1, 6).bool(), negative_prompt_embeds=negative,
        negative_prompt_attention_mask=torch.ones(1, 4).bool(), guidance_scale=3.0, latents=packed(NOISE), **SIZE,
    )  # fmt: skip
    assert far(ours("Chroma", tmp_path, [[prompt, {}]], NOISE, 3.0, [[negative, {}]]), want) < WHOLE


def test_whole_flux2(tmp_path: Path) -> None:
    noise, prompt = prepare_noise(torch.zeros(1, 128, 4, 4), 7), torch.randn(1, 6, TEXT)
    want = pipeline("Flux2Pipeline", fluxes.net("Flux 2"))(prompt_embeds=prompt, guidance_scale=3.0, latents=noise, **SIZE)
    sigmas = flux2_scheduler(Bench(tmp_path / "h").context(), steps=STEPS, width=64, height=64)
    got = ours("Flux 2", tmp_path, [[prompt, {"guidance": 3.0}]], noise, sigmas=sigmas)
    assert far(got, want, 1) < WHOLE


@torch.no_grad()
def test_a_mask_of_attention(tmp_path: Path) -> None:
    """Tokens that nobody may look at are as if they were not there."""
    path, blind = fluxes.saved("Flux", tmp_path), torch.zeros(1, 6, 6)
    blind[:, :, 3:5] = -1e9
    want = run(path, {"cross_attn": CONTEXT[:, :3]}, X, tmp_path, "Flux")
    for mask in (blind, blind == 0):
        got = run(path, {"cross_attn": CONTEXT, "attention_mask": mask}, X, tmp_path, "Flux")
        assert (got - want).abs().max() < CLOSE


def test_wrong_parts(tmp_path: Path) -> None:
    model = load_diffusion_model(fluxes.saved("Flux", tmp_path), tiny.services(tmp_path))

    def told(**cond: Any) -> None:
        model.family.inputs([{"cross_attn": CONTEXT, **cond}], model.sizes, X.shape)

    with pytest.raises(BadInput, match="768 wide, but this Flux model takes 24"):
        told(cross_attn=torch.zeros(1, 77, 768))
    with pytest.raises(BadInput, match="pooled text is 1280 wide"):
        told(pooled_output=torch.zeros(1, 1280))
    with pytest.raises(BadInput, match=r"reference picture has the latent shape .* works on 16 channels"):
        told(reference_latents=[torch.zeros(1, 4, 8, 8)])
