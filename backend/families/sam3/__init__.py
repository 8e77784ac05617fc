"""SAM 3 and 3.1 (Carion et al. 2025, arXiv:2511.16719): finds what phrases mean and segments it. It travels on a MODEL wire beside its text
encoder, as its files are checkpoints; it makes no pictures, and sampling with it is refused in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.handle import ModelHandle
from backend.diffusion.latent import LatentFormat
from backend.diffusion.noise import DiscreteNoise, NoiseModel, betas, eps
from backend.encoders.phrases.handle import BRANCH
from backend.families import Family
from backend.families.joining import Joiner
from backend.families.sam3.names import from_others
from backend.families.sam3.net import Sam3
from backend.families.sam3.sizes import Sam3Sizes, sizes_of
from backend.weights.detect import Signature

NAME = "SAM 3"


def refused(*args: Any, **options: Any) -> NoReturn:
    """Sampling. Raises BadInput."""
    raise BadInput(
        f"{NAME} finds and segments things in pictures; it cannot make pictures.",
        hint="Connect it to SAM3 Detect, and a diffusion model here.",
        input="model",
    )


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """None that is used: nodes that lay out steps ask for one before sampling is refused."""
    return DiscreteNoise.from_betas(betas("scaled_linear"), eps())


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of looking at a picture and finding one phrase in it, for numbers of 4 bytes: the widest layer of the vision
    transformer, two pyramids at their finest level, and the attention of queries to everywhere."""
    assert isinstance(sizes, Sam3Sizes)
    cells = (sizes.side // sizes.patch) ** 2
    trunk = cells * (8 * sizes.width + 2 * sizes.mlp)
    pyramids = cells * 16 * sizes.hidden * 8
    return 4 * (trunk + pyramids + 4 * cells * sizes.heads * sizes.queries)


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Raises BadInput."""
    refused()


def is_sam3(model: ModelHandle) -> bool:
    """Whether a MODEL is one."""
    return model.family.name == NAME


FAMILY = Family(
    name=NAME,
    signature=Signature(has=("vision.trunk.pos_embed", "decoder.presence_token.weight", "scoring.prompt_proj.weight", "resizer.weight")),
    latent=LatentFormat(),
    sizes=sizes_of,
    build=Sam3,
    noise=noise,
    inputs=refused,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_others,
    to_diffusers=lambda sizes, keys: {key: key for key in keys},
    taps={"sample": (refused,)},
    text=Joiner(
        title=NAME,
        reads="its own text encoder, which is in its file",
        types=(),
        join=lambda encoders: encoders[0] if len(encoders) == 1 and encoders[0].branch == BRANCH else None,
        usual=(frozenset((BRANCH,)),),
    ),
)
FAMILIES = (FAMILY,)
