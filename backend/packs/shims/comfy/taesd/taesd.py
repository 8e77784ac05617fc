"""The tiny autoencoder as packs hold it."""

from __future__ import annotations

from typing import Any

import torch

import comfy.utils
from backend.codecs.tiny.net import TinyAutoencoder, TinySizes


class TAESD(torch.nn.Module):
    """Of its two published files, or empty. Latents are those that nodes see, pixels [B, 3, H, W] in -1..1."""

    def __init__(self, encoder_path: Any = None, decoder_path: Any = None, latent_channels: int = 4) -> None:
        super().__init__()
        net = TinyAutoencoder(TinySizes(embed_dim=latent_channels))
        self.taesd_encoder, self.taesd_decoder = net.encoder, net.decoder
        self.vae_scale = torch.nn.Parameter(torch.tensor(1.0))
        self.vae_shift = torch.nn.Parameter(torch.tensor(0.0))
        for half, path in ((net.encoder, encoder_path), (net.decoder, decoder_path)):
            if path is not None:
                half.load_state_dict(comfy.utils.load_torch_file(path, safe_load=True))

    def decode(self, x: Any) -> Any:
        return self.taesd_decoder((x - self.vae_shift) * self.vae_scale) * 2 - 1

    def encode(self, x: Any) -> Any:
        return self.taesd_encoder(x * 0.5 + 0.5) / self.vae_scale + self.vae_shift
