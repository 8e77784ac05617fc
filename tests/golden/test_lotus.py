"""Lotus in one step against the reference net, as the graph of published files runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backend.base.errors import MissingFile
from backend.diffusion.guiders import BasicGuider
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.families.load import load_checkpoint, load_diffusion_model
from backend.families.sd import names as unet_names
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.lotus import TOKENS, lotus_conditioning
from tests.families import kinds, tiny
from tests.nodes.bench import Bench


def twin() -> kinds.UNet2DConditionModel:
    torch.manual_seed(0)
    sizes = {"sample_size": 8, "in_channels": 4, "projection_class_embeddings_input_dim": 4}
    return kinds.UNet2DConditionModel(**{**kinds.UNCLIP, **sizes}).eval()


@pytest.mark.parametrize("spelled", ["published", "diffusers"])
def test_lotus_estimates_in_one_step(spelled: str, tmp_path: Path) -> None:
    net = twin()
    state, path = net.state_dict(), tmp_path / "lotus.safetensors"
    names = unet_names.from_diffusers(state) if spelled == "published" else {key: key for key in state}
    save_safetensors(path, {name: state[key].contiguous() for name, key in names.items()})
    model = load_diffusion_model(path, tiny.services(tmp_path))
    assert model.family.name == "Lotus"

    latent, text = torch.randn(1, 4, 8, 8), torch.randn(1, TOKENS, 64)
    task = torch.tensor([[1.0, 0.0]])
    with torch.no_grad():
        want = net(latent * 0.18215, 999, text, class_labels=torch.cat([task.sin(), task.cos()], dim=-1)).sample / 0.18215
    guider, sigmas = BasicGuider(model, [[text, {}]]), torch.tensor([10000.0, 0.0])
    found = sample(guider, torch.zeros_like(latent), latent, solver("euler"), sigmas, None, pool=Pool("cpu"), seed=0)
    assert (found - want).abs().max() < 1e-4


def test_the_empty_prompt_comes_from_a_file_of_stable_diffusion_2(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(MissingFile, match="empty prompt"):
        lotus_conditioning(bench.context())
    folder = bench.folders.kind("checkpoints").paths[0]
    folder.mkdir(parents=True, exist_ok=True)
    kinds.make("sd1").single(folder / "a.safetensors")
    kinds.make("sd2").single(folder / "b.safetensors")
    [[tokens, _]] = lotus_conditioning(bench.context())
    clip = load_checkpoint(folder / "b.safetensors", bench.services).clip
    assert clip is not None
    padded = clip.conditioning("", bench.services.pool)[0][0]
    assert tokens.shape[1] == TOKENS and torch.equal(tokens, padded[:, :TOKENS])
