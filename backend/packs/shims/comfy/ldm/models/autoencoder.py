"""The autoencoder under its published name."""

from backend.codecs.kl.net import AutoencoderKL

__all__ = ["AutoencoderKL"]
