"""Sizes and places shared by the training steps. Channel counts are multiples of 32 because every GroupNorm has 32 groups."""

from __future__ import annotations

from backend.codecs.kl.net import KLSizes
from backend.encoders.clip.net import ClipSizes
from backend.families.sd.unet import UNetSizes

VAE = KLSizes(channels=32, channel_mult=(1, 1, 2, 2), res_blocks=1)
LATENT_SCALE = 0.18215
"""What the Stable Diffusion 1.x family multiplies latents with; export folds a rescale into the autoencoder so that this is right."""
TEXT = ClipSizes(width=64, layers=3, heads=1, mlp=256)
UNET = UNetSizes(channels=(64, 96), res_blocks=(1, 1), depth_in=(0, 1), depth_middle=1, depth_out=(1, 1, 0, 0), context=64)
BETAS = (0.00085, 0.012, 1000)
"""The Stable Diffusion schedule: square roots of the betas are even between those of the first two, in this many steps."""
