"""Real forward passes for `doctor`: through the model that ships, or through a random net of its kind."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.base.config import Settings
from backend.base.errors import BadFile, Problem
from backend.base.paths import Folders
from backend.diffusion.handle import ModelHandle
from backend.diffusion.ksample import ksample
from backend.families.load import load_checkpoint
from backend.families.sd import SD1_FAMILY
from backend.families.sd.unet import UNet, UNetSizes
from backend.memory.device import DeviceFacts, probe
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import init_weights

STEPS = 2
PROMPT = "a large red star on a blue background"


@dataclass(frozen=True)
class Workshop:
    """What loading asks of a process, and the pool to lease from."""

    settings: Settings
    device: DeviceFacts
    folders: Folders
    pool: Pool


def workshop(settings: Settings) -> Workshop:
    """The parts a worker would make of these settings."""
    facts = probe(settings)
    return Workshop(settings, facts, settings.folders(), Pool(facts.device, facts.budget(settings)))


@torch.inference_mode()
def shipped_model(path: Path, settings: Settings) -> str:
    """Load, encode a prompt, sample two steps, decode; says how long it took. Raises Problem when the result is not sane."""
    shop, begun = workshop(settings), time.perf_counter()
    loaded = load_checkpoint(path, shop)
    if loaded.model is None or loaded.clip is None or loaded.vae is None:
        raise BadFile(f"{path.name} lacks a part: it has {loaded.sentence()}.", hint="Fetch the file again.", file=path)
    positive, negative = (loaded.clip.conditioning(text, shop.pool) for text in (PROMPT, ""))
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    done = ksample(loaded.model, 1, STEPS, 6.0, "euler", "normal", positive, negative, latent, pool=shop.pool)
    pixels = loaded.vae.decode(done["samples"], shop.pool)
    _sane(pixels, (1, 128, 128, 3), "picture")
    return f"{path.name}: text, {STEPS} steps and a decoded picture in {time.perf_counter() - begun:.1f} s"


@torch.inference_mode()
def random_net(settings: Settings) -> str:
    """Two steps through a small random net, in the number type the device would use. Raises Problem when the result is not sane."""
    shop, begun = workshop(settings), time.perf_counter()
    sizes = UNetSizes(channels=(32, 64), res_blocks=(1, 1), depth_in=(1, 1), depth_middle=1, depth_out=(1, 1, 1, 1), context=64)
    torch.manual_seed(0)
    net = UNet(sizes)
    init_weights(net)
    source: dict[str, Tensor] = {name: parameter.detach() for name, parameter in net.named_parameters()}
    dtype = shop.device.compute_dtype("unet", settings)
    model = ModelHandle(Loadable("doctor#unet", lambda: UNet(sizes), source, dtype=dtype), SD1_FAMILY, sizes, SD1_FAMILY.noise({}))
    text: list[Any] = [[torch.randn(1, 77, 64), {}]]
    done = ksample(model, 1, STEPS, 2.0, "euler", "normal", text, text, {"samples": torch.zeros(1, 4, 16, 16)}, pool=shop.pool)
    _sane(done["samples"], (1, 4, 16, 16), "latent")
    return f"a random net took {STEPS} steps in {time.perf_counter() - begun:.1f} s (the model that ships is not in models/checkpoints)"


def _sane(result: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(result.shape) != shape:
        raise Problem(f"The {what} came out as {list(result.shape)} instead of {list(shape)}.", hint="This is a bug: report it.")
    if not bool(result.isfinite().all()) or float(result.std()) < 1e-3:
        hint = "The device or its driver computes wrongly in this number type: try --force-fp32 or --cpu."
        raise Problem(f"The {what} is empty or holds values that are no numbers.", hint=hint)
