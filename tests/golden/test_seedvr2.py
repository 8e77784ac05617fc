"""SeedVR2's nets against values recorded from mflux 0.24.0 (MLX on a CPU, float32), on weights that follow from their names.

That implementation restores pictures: its transformer takes films, its autoencoder looks at norms over all frames together. How films go
through the autoencoder is held to the definition here: a convolution sees what was before, norms and attention one frame.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from backend.codecs.seedvr2.net import SeedVR2Autoencoder, SeedVR2VaeSizes
from backend.families.seedvr2.net import Rope, SeedVR2Net, SeedVR2Sizes, cuts, plan
from tests.golden.recorded import filled

SMALL = SeedVR2Sizes(channels=4, shown=9, width=32, heads=2, head=16, layers=3, apart=1, hidden=256, context=12, rates=2)
LARGE = replace(SMALL, width=48, head=24, layers=2, apart=2, hidden=192, second=False)
PICTURE, FILM = (1, 9, 1, 90, 70), (1, 9, 5, 48, 58)
RECORDED = {
    (SMALL, PICTURE): [
        -0.015178, 0.143752, -0.080949, -0.183672, 0.020874, 0.186648, -0.286029, -0.084038, -0.047764, 0.02467, -0.18684, 0.261049,
    ],
    (SMALL, FILM): [
        -0.018844, 0.077424, -0.093347, -0.355981, 0.077161, 0.138307, -0.051547, -0.136854, 0.088623, 0.187364, -0.013362, -0.201554,
        -0.194567, 0.206699, 0.106829, 0.38539, -0.200584, 0.125358, 0.005444, 0.216914, -0.321766, -0.211624, -0.082383, 0.187298,
    ],
    (LARGE, PICTURE): [
        -0.230433, 0.59074, -0.835964, -0.575913, -0.351964, -0.053005, 0.255721, -0.211101, -0.428029, -0.13667, 0.747511, -0.0823,
    ],
    (LARGE, FILM): [
        0.37563, -0.675671, -0.102491, -0.507864, -0.317925, -0.292048, -0.006833, 0.226522, 0.593023, 0.407947, -0.611428, -0.585073,
        -0.612761, -0.181089, 0.149481, 0.811989, -0.876191, -0.512132, 0.053219, 0.287202, 0.104614, -0.334202, -0.555307, 0.11872,
    ],
}  # fmt: skip
VAE = SeedVR2VaeSizes(channels=32, channel_mult=(1, 1, 2, 2), z_channels=4)
ENCODED = [
    2.67367, 2.61947, -0.43629, -0.09729, 0.60224, 3.30242, -2.0137, 6.40032, -0.28614, 1.28767, -0.39568, 5.06521, 0.94602, 1.10482,
    4.81701, -1.23359,
]  # fmt: skip
DECODED = [
    -0.25128, -1.62867, 0.04714, 0.26727, 1.17537, -0.6447, 0.48848, -0.36524, -0.32315, 0.21192, 0.5186, 0.91564, 1.17692, -1.84944,
    0.19799, -0.39586, -0.43298, 0.49726, -0.90236, -0.3373, -0.64942, 1.73737, 3.6046, 0.19486, 0.19263, 0.19723, 0.6806,
]  # fmt: skip


def net(sizes: SeedVR2Sizes) -> SeedVR2Net:
    """With the usual rates of turning, whether kept or not."""
    made = SeedVR2Net(sizes)
    usual = {name: Rope(sizes)._usual(torch.zeros(1)) for name, _ in made.named_parameters() if name.endswith("rope.freqs")}
    made.load_state_dict(filled(made) | usual)
    return made


def test_published_sizes() -> None:
    """Weights of the published nets take as much as their files are said to: 6.78 and 16.48 GB, and 478.1 MiB for the autoencoder."""
    large = replace(LARGE, channels=16, shown=33, width=3072, heads=24, head=128, layers=36, apart=36, hidden=12288, context=5120, rates=10)
    with torch.device("meta"):
        nets = [SeedVR2Net(SeedVR2Sizes(rates=21)), SeedVR2Net(large), SeedVR2Autoencoder(SeedVR2VaeSizes())]
    taken = [2 * sum(weight.numel() for weight in net.parameters()) for net in nets]
    assert [round(taken[0] / 1e9, 2), round(taken[1] / 1e9, 2), round(taken[2] / 2**20, 1)] == [6.78, 16.48, 478.1]


def autoencoder() -> tuple[SeedVR2Autoencoder, torch.Generator]:
    made = SeedVR2Autoencoder(VAE)
    made.load_state_dict(filled(made))
    return made, torch.Generator().manual_seed(1)


def apart(found: Tensor, recorded: list[float]) -> float:
    return float((found.flatten() - torch.tensor(recorded)).abs().max())


@pytest.mark.parametrize(("sizes", "shape"), RECORDED, ids=["3b picture", "3b film", "7b picture", "7b film"])
def test_transformer(sizes: SeedVR2Sizes, shape: tuple[int, ...]) -> None:
    random = torch.Generator().manual_seed(1)
    x, text = torch.randn(shape, generator=random), torch.randn(1, 7, 12, generator=random)
    with torch.inference_mode():
        made = net(sizes)(x, torch.full((1,), 700.0), text)
        assert apart(made[0, ::3, ::2, ::35, ::45], RECORDED[sizes, shape]) < 1e-5
        assert torch.equal(net(replace(sizes, rates=None))(x, torch.full((1,), 700.0), text), made)


def test_autoencoder_of_pictures() -> None:
    made, random = autoencoder()
    with torch.inference_mode():
        latent = made.encode(torch.randn(1, 3, 48, 64, generator=random))
        assert latent.shape == (1, 4, 6, 8) and apart(latent[0, :, ::3, ::5], ENCODED) < 1e-4
        picture = made.decode(torch.randn(1, 4, 5, 6, generator=random))
        assert picture.shape == (1, 3, 40, 48) and apart(picture[0, :, ::17, ::23], DECODED) < 1e-4


def test_autoencoder_of_films() -> None:
    """Piece by piece as at once; a frame depends on none after it, and one alone is a picture."""
    made, random = autoencoder()
    film, latent = torch.randn(1, 3, 10, 16, 16, generator=random), torch.randn(1, 4, 3, 2, 2, generator=random)
    with torch.inference_mode():
        encoded, decoded = made.encode(film), made.decode(latent)
        assert encoded.shape == (1, 4, 3, 2, 2) and decoded.shape == (1, 3, 9, 16, 16)
        assert torch.allclose(encoded, made.encoder(film[:, :, :9]).chunk(2, dim=1)[0], atol=1e-4)
        assert torch.allclose(decoded, made.decoder(latent), atol=1e-4)
        assert torch.allclose(encoded[:, :, 0], made.encode(film[:, :, 0]), atol=1e-4)
        assert torch.allclose(decoded[:, :, 0], made.decode(latent[:, :, 0]), atol=1e-4)
        assert torch.allclose(made.encode(film[:, :, :5]), encoded[:, :, :2], atol=1e-4)


def test_windows_hold_every_token_once() -> None:
    assert cuts(10, 4, False) == [(0, 4), (4, 8), (8, 10)] and cuts(10, 4, True) == [(0, 2), (2, 6), (6, 10)]
    assert cuts(3, 4, True) == [(0, 3)] and cuts(1, 1, True) == [(0, 1)]
    for size in ((1, 45, 80), (7, 3, 200), (1, 1, 1), (31, 20, 20)):
        for moved in (False, True):
            made = plan(size, SMALL, moved, 5, torch.device("cpu"))
            tokens = torch.cat([table.flatten() for table in made.windows]).sort().values
            assert torch.equal(tokens, torch.arange(size[0] * size[1] * size[2])) and len(made.places) == len(tokens)
    usual = plan((1, 45, 80), SMALL, False, 5, torch.device("cpu"))
    assert usual.count == 9 and usual.places.amax(0).tolist() == [5, 14, 26]
