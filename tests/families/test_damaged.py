"""Files whose headers lost weights or whose shapes make no sense end in a sentence, whatever they hold."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.adapters.patches import load_patch
from backend.base.errors import Problem
from backend.codecs.wan.net import WanSizes as VaeSizes
from backend.codecs.wan.spec import net_of
from backend.families.load import load_diffusion_model, load_vae
from backend.families.wan.humo import HumoNet, HumoSizes
from backend.weights.save import save_safetensors
from tests.families import kinds, priors, tiny, vaes
from tests.golden import test_anima, test_lllite
from tests.tools import seedvr2_twins


class Stated:
    """Weights under the names of a file."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.state


LITE = test_lllite.Lite(20, 16).state_dict()
MAKERS: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "anima": (lambda: Stated(test_anima.from_folder(test_anima.folder().state_dict())), load_diffusion_model),
    "lllite": (lambda: Stated({f"lllite_{i}.{key}": part for i in range(4) for key, part in LITE.items()}), load_patch),
    "sdxl": (lambda: kinds.make("sdxl"), load_diffusion_model),
    "x2": (lambda: kinds.make("x2").unet, load_diffusion_model),
    "prior": (priors.twin, load_diffusion_model),
    "kl": (kinds.vae, load_vae),
    "asymmetric": (vaes.asymmetric, load_vae),
    "consistency": (vaes.consistency, load_vae),
    "seedvr2": (lambda: seedvr2_twins.SeedVR2Net(seedvr2_twins.SMALL), load_diffusion_model),
    "seedvr2 vae": (lambda: seedvr2_twins.SeedVR2Autoencoder(seedvr2_twins.VAE), load_vae),
    "wan vae": (lambda: net_of(VaeSizes(8, (1, 1, 1, 1), 1, 4, patch=2, up_channels=8)), load_vae),
    "wan humo": (lambda: HumoNet(HumoSizes(width=64, heads=2, layers=1, hidden=48, context=20, sound=6, heard=12)), load_diffusion_model),
}


@pytest.mark.parametrize("name", MAKERS)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    make, load = MAKERS[name]
    made, services, chance = make(), tiny.services(tmp_path), random.Random(name)
    whole = made.state() if isinstance(made, kinds.Kind) else made.state_dict()
    shapes = {key: tuple(value.shape) for key, value in whole.items()}
    for _ in range(8):
        state = {key: torch.zeros((), dtype=torch.uint8).expand(shape) for key, shape in shapes.items()}
        for key in chance.sample(sorted(state), chance.choice([1, 2, 5, 30])):
            state[key] = chance.choice([None, torch.zeros(()), torch.zeros(3), torch.zeros([side + 1 for side in shapes[key]])])
        save_safetensors(tmp_path / "m.safetensors", {key: value.contiguous() for key, value in state.items() if value is not None})
        with contextlib.suppress(Problem):
            load(tmp_path / "m.safetensors", services)
