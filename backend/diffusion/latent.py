"""What a family's latents look like: channels, scale, and a cheap look at their colours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.base.errors import BadInput

Row = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class LatentFormat:
    """Between the latents nodes see and those the net sees: net = (node - shift) * scale.

    `factor` is pixels per latent cell, `dims` the spatial dimensions (2 images, 3 video, 1 audio). `rgb` [channels][3] and `rgb_bias`
    turn a net-side latent into colours in -1..1; without them there is no cheap preview. `tiny` names the small decoder, if any.
    """

    channels: int = 4
    factor: int = 8
    scale: float = 1.0
    shift: float = 0.0
    dims: int = 2
    rgb: tuple[Row, ...] = ()
    rgb_bias: Row = (0.0, 0.0, 0.0)
    tiny: str | None = None

    def process_in(self, latent: Tensor) -> Tensor:
        """As nodes see it -> as the net sees it."""
        return (latent - self.shift) * self.scale

    def process_out(self, latent: Tensor) -> Tensor:
        """As the net sees it -> as nodes see it."""
        return latent / self.scale + self.shift

    def check_vae(self, channels: int, model: str = "the model", hint: str = "Connect the model's own VAE.") -> None:
        """Raises BadInput where a VAE makes latents of another number of `channels`."""
        if channels != self.channels:
            raise BadInput(f"The VAE makes latents of {channels} channels; {model} works on {self.channels}.", hint=hint, input="vae")

    def adapt_empty(self, latent: Tensor) -> Tensor:
        """An all-zero latent [B, C, ...] with this format's channels and dimensions; any other latent unchanged.

        One of four channels was meant for eighths of a picture's sides: where cells are larger, there are fewer.
        """
        if latent.shape[1] != self.channels and not torch.any(latent):
            larger = max(1, self.factor // _USUAL.factor) if latent.shape[1] == _USUAL.channels else 1
            sides = [max(1, side // larger) for side in latent.shape[2:]]
            latent = latent.new_zeros((latent.shape[0], self.channels, *sides))
        return latent.unsqueeze(2) if self.dims == 3 and latent.ndim == 4 else latent


_USUAL = LatentFormat()


@dataclass(frozen=True, slots=True)
class ChannelwiseLatent(LatentFormat):
    """Latents that are normalised channel by channel: net = (node - mean) * scale / deviation."""

    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    def process_in(self, latent: Tensor) -> Tensor:
        return (latent - self._along(self.means, latent)) * self.scale / self._along(self.deviations, latent)

    def process_out(self, latent: Tensor) -> Tensor:
        return latent * self._along(self.deviations, latent) / self.scale + self._along(self.means, latent)

    def _along(self, values: tuple[float, ...], latent: Tensor) -> Tensor:
        return torch.tensor(values, dtype=latent.dtype, device=latent.device).reshape(-1, *[1] * (latent.ndim - 2))


SD1_RGB: tuple[Row, ...] = (
    (0.3512, 0.2297, 0.3227),
    (0.3250, 0.4974, 0.2350),
    (-0.2829, 0.1762, 0.2721),
    (-0.2120, -0.2616, -0.7177),
)
SDXL_RGB: tuple[Row, ...] = (
    (0.3651, 0.4232, 0.4341),
    (-0.2533, -0.0042, 0.1068),
    (0.1076, 0.1111, -0.0362),
    (-0.3165, -0.2492, -0.2188),
)

SD1 = LatentFormat(scale=0.18215, rgb=SD1_RGB, tiny="taesd_decoder")
SDXL = LatentFormat(scale=0.13025, rgb=SDXL_RGB, rgb_bias=(0.1084, -0.0175, -0.0011), tiny="taesdxl_decoder")
PLAYGROUND = ChannelwiseLatent(
    scale=0.5, tiny="taesdxl_decoder", means=(-1.6574, 1.886, -1.383, 2.5155), deviations=(8.4927, 5.9022, 6.5498, 5.2299),
    rgb=((0.3920, 0.4054, 0.4549), (-0.2634, -0.0196, 0.0653), (0.0568, 0.1687, -0.0755), (-0.3112, -0.2359, -0.2076)),
)  # fmt: skip
SD3 = LatentFormat(channels=16, scale=1.5305, shift=0.0609, tiny="taesd3_decoder")
FLUX = LatentFormat(channels=16, scale=0.3611, shift=0.1159, tiny="taef1_decoder")
FLUX2 = LatentFormat(channels=128, factor=16)
SEEDVR2 = LatentFormat(channels=16, scale=0.9152, dims=3)
WAN = ChannelwiseLatent(
    channels=16, dims=3, rgb_bias=(-0.1835, -0.0868, -0.3360),
    rgb=(
        (-0.1299, -0.1692, 0.2932), (0.0671, 0.0406, 0.0442), (0.3568, 0.2548, 0.1747), (0.0372, 0.2344, 0.1420),
        (0.0313, 0.0189, -0.0328), (0.0296, -0.0956, -0.0665), (-0.3477, -0.4059, -0.2925), (0.0166, 0.1902, 0.1975),
        (-0.0412, 0.0267, -0.1364), (-0.1293, 0.0740, 0.1636), (0.0680, 0.3019, 0.1128), (0.0032, 0.0581, 0.0639),
        (-0.1251, 0.0927, 0.1699), (0.0060, -0.0633, 0.0005), (0.3477, 0.2275, 0.2950), (0.1984, 0.0913, 0.1861),
    ),
    means=(
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    ),
    deviations=(
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    ),
)  # fmt: skip
"""Latents of Wan 2.1's autoencoder, which is Qwen Image's too."""
WAN22 = ChannelwiseLatent(
    channels=48, factor=16, dims=3,
    means=(
        -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
        0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
        -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
        -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
    ),
    deviations=(
        0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
        0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
        0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
        0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
    ),
)  # fmt: skip
"""Latents of Wan 2.2's autoencoder."""
QWEN21 = ChannelwiseLatent(
    channels=64, factor=16,
    means=(
        0.5126, 0.7721, -0.0631, 1.3506, -0.7855, -2.1025, -0.3458, 1.3722, 1.8873, -1.7177, -0.6510, 0.2732,
        0.7562, -0.6163, -1.0277, 3.8363, 2.0210, 0.0472, 0.9320, 2.0087, 2.4954, -0.1391, -1.4249, 1.8464,
        -0.5236, 1.2826, 3.7046, -1.3035, 2.7286, -1.4518, -1.9036, -1.9955, -0.0342, -1.0265, -0.7636, 3.0555,
        0.0746, -3.0751, -0.1076, 1.7376, -1.0914, -1.9435, -0.2784, -1.3680, 0.4809, -0.4433, 0.3764, 0.5729,
        -2.0595, 1.0960, -1.3260, -2.0211, -5.0179, 0.5275, 4.0162, 1.8505, 0.3026, 1.9373, 1.4937, 0.2632,
        0.5547, -1.7121, -0.1562, 0.0304,
    ),
    deviations=(
        3.2001, 3.2936, 3.4321, 3.0091, 3.1061, 4.0379, 4.0705, 3.7910, 3.0785, 3.6500, 3.9308, 3.0904,
        2.8778, 3.7675, 3.7320, 5.0756, 3.2864, 4.0397, 3.1317, 4.0443, 2.9249, 3.9454, 3.0988, 4.2489,
        3.4896, 3.8513, 3.9323, 3.4719, 3.7498, 4.2830, 3.5694, 4.2467, 3.9037, 3.2947, 5.0770, 3.5075,
        3.2700, 3.4767, 2.8063, 5.1125, 3.5327, 4.7833, 3.1286, 4.1819, 3.8527, 3.8312, 3.5605, 4.3875,
        3.9624, 4.0168, 3.5643, 4.0550, 5.5614, 4.2963, 4.4080, 3.4959, 3.8747, 3.7608, 3.5735, 3.1490,
        3.7662, 3.6746, 3.4563, 3.8161,
    ),
)  # fmt: skip
"""Latents of Qwen Image 2.1."""
