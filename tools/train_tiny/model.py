"""The text encoder and the denoiser as one trainable thing, with a vocabulary of only the words the captions use."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from backend.encoders.clip.net import ClipText
from backend.encoders.clip.vocabulary import END, SIZE
from backend.families.sd.unet import UNet, init_training
from backend.nn.layers import Embedding, init_weights
from tools.train_tiny.fast import speed_up
from tools.train_tiny.settings import TEXT, UNET


class Painter(nn.Module):
    """Predicts the noise in latents from token ids.

    Training all 49408 embeddings would cost more than the denoiser, so `words` [n] lists the ids in use; every other id shares one last
    row, which learns to mean nothing in particular and is what export gives to all words never seen.
    """

    words: Tensor
    lookup: Tensor

    def __init__(self, words: Tensor) -> None:
        super().__init__()
        lookup = torch.full((SIZE,), len(words))
        lookup[words] = torch.arange(len(words))
        self.register_buffer("words", words)
        self.register_buffer("lookup", lookup)
        end = int(lookup[END])
        self.text = ClipText(dataclasses.replace(TEXT, vocabulary=len(words) + 1, end=end))
        self.unet = UNet(UNET)

    def read(self, tokens: Tensor) -> Tensor:
        """Token ids [B, 77] -> context [B, 77, width]."""
        context: Tensor = self.text(self.lookup[tokens], torch.float32)[0]
        return context

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """Noisy latents [B, 4, h, w] at timesteps t [B] with ids [B, 77] -> predicted noise."""
        noise: Tensor = self.unet(x, t, self.read(tokens))
        return noise


def begin(words: Tensor, seed: int) -> Painter:
    """A fresh one, ready to train."""
    torch.manual_seed(seed)
    net = Painter(words)
    init_weights(net)
    init_training(net.unet)
    for module in net.modules():
        if isinstance(module, Embedding):
            nn.init.normal_(module.weight, std=0.3)
    speed_up(net)
    return net


def load(path: Path, part: str = "ema") -> Painter:
    """What training saved: `part` is "ema" (averaged weights) or "net"."""
    saved = torch.load(path, weights_only=True)
    net = Painter(saved[part]["words"])
    net.load_state_dict(saved[part])
    return net.eval()
