"""The tiny model through the product's own path: checkpoint loader, text encoding, KSampler, VAE decoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray

from backend.base.paths import Folders
from backend.diffusion.ksample import ksample
from backend.families.load import Loaded, load_checkpoint
from backend.memory.device import DeviceFacts, probe
from backend.memory.pool import Pool

CHECKPOINT = Path(__file__).resolve().parents[2] / "models" / "checkpoints" / "emulsion-tiny.safetensors"


@dataclass(frozen=True)
class Product:
    """A loaded checkpoint and what it runs in."""

    loaded: Loaded
    pool: Pool

    @classmethod
    def open(cls, path: Path = CHECKPOINT, exact: bool = False) -> Product:
        """`exact`: compute in float32 whatever the machine is quick in."""
        device = DeviceFacts(torch.device("cpu"), "test", 1 << 34, ()) if exact else probe()
        services = SimpleNamespace(device=device, settings=None, folders=Folders.of(path.parents[1]))
        return cls(load_checkpoint(path, services), Pool(device.device))

    def paint(
        self,
        prompt: str,
        seed: int,
        steps: int = 20,
        cfg: float = 8.0,
        sampler: str = "euler",
        scheduler: str = "normal",
        negative: str = "",
        side: int = 128,
    ) -> NDArray[np.uint8]:
        """[side, side, 3] RGB."""
        model, clip, vae = self.loaded.model, self.loaded.clip, self.loaded.vae
        assert model is not None and clip is not None and vae is not None
        said, unsaid = clip.conditioning(prompt, self.pool), clip.conditioning(negative, self.pool)
        latent = {"samples": torch.zeros(1, 4, side // 8, side // 8)}
        done = ksample(model, seed, steps, cfg, sampler, scheduler, said, unsaid, latent, pool=self.pool)
        pixels = vae.decode(done["samples"], self.pool)[0]
        out: NDArray[np.uint8] = (pixels * 255).round().byte().numpy()
        return out
