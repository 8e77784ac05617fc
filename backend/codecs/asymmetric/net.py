"""The asymmetric autoencoder (Zhu et al. 2023, arXiv:2306.04632): the KL autoencoder with a decoder of its own width and depth.

At every resolution, what lies outside the mask is taken from a second, shallow encoding of the picture itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from backend.codecs.kl.net import Decoder, EncodedSizes, Encoder, KLSizes, drawn
from backend.nn.layers import Conv2d


@dataclass(frozen=True)
class AsymmetricSizes(EncodedSizes):
    decoder: KLSizes
    condition: tuple[int, ...]
    """Widths of the second encoding, finest first: two at full resolution, then one for each halving."""

    @property
    def channels(self) -> int:
        """The width that counts for memory."""
        return max(self.encoder.channels, self.decoder.channels)


class Surroundings(nn.Module):
    """A picture [B, C, H, W] as maps of the widths and resolutions that the decoder passes through, finest first."""

    def __init__(self, cin: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for i, width in enumerate(widths):
            self.layers.append(Conv2d(cin, width, 3, padding=1) if i < 2 else Conv2d(cin, width, 4, stride=2, padding=1))
            cin = width

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
            x = F.relu(x)
        return maps


class ShownDecoder(Decoder):
    """The KL decoder; with a picture and a mask [B, 1, H, W] (1: painted anew) it keeps to the picture where the mask is 0."""

    def __init__(self, sizes: KLSizes, widths: tuple[int, ...]) -> None:
        super().__init__(sizes)
        self.condition_encoder = Surroundings(sizes.out_channels, widths)

    def shown(self, z: Tensor, picture: Tensor, mask: Tensor) -> Tensor:
        """As `forward`, with the picture [B, out_channels, H, W] in -1..1 around."""
        maps = self.condition_encoder(picture * (1 - mask))
        h = self.mid(self.conv_in(z))
        for level in reversed(list(self.up)):
            h = level(kept(h, maps.pop(), mask))
        out: Tensor = self.conv_out(F.silu(self.norm_out(kept(h, maps.pop(), mask))))
        return out


def kept(h: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    """h where the mask is 1, `outside` where it is 0."""
    here = F.interpolate(mask, size=h.shape[-2:], mode="nearest")
    return h * here + outside * (1 - here)


class AsymmetricAutoencoder(nn.Module):
    """Pixels [B, 3, H, W] in [-1, 1] <-> latents [B, embed_dim, H / factor, W / factor], unscaled."""

    def __init__(self, sizes: AsymmetricSizes) -> None:
        super().__init__()
        self.sizes = sizes
        z = sizes.encoder.z_channels
        self.encoder = Encoder(sizes.encoder)
        self.decoder = ShownDecoder(sizes.decoder, sizes.condition)
        self.quant_conv, self.post_quant_conv = Conv2d(2 * z, 2 * z, 1), Conv2d(z, z, 1)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The latent of `x`: its mean, or with standard normal `noise` a sample around it."""
        return drawn(self.quant_conv(self.encoder(x)), noise)

    def decode(self, z: Tensor, beside: Tensor | None = None) -> Tensor:
        """Pixels of the latent `z`. `beside` [B, 4, H, W]: the picture in -1..1, and the mask of what is painted anew."""
        z = self.post_quant_conv(z)
        out: Tensor = self.decoder(z) if beside is None else self.decoder.shown(z, beside[:, :-1], beside[:, -1:])
        return out
