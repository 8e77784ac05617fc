"""One call of a transformer of Flux's shapes, three of its 57 blocks: ours in bfloat16 where the CPU has it, diffusers in two types.

    python -m benchmarks.transformer_step [--side 256 512] [--repeats 3] [--threads 1] [--alike]

As `unet_step`: same weights, in turns, in two processes, CPU seconds, the best of the repeats. One double and two single blocks, 512 tokens
of text, one sample.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from backend.families.flux.names import from_diffusers
from backend.families.flux.net import FluxNet, FluxSizes
from backend.nn.patchify import to_picture, to_tokens
from backend.weights.file import Renamed, Views
from backend.weights.held import Held
from benchmarks.turns import Run, Step, dtype_here, in_two_types, leased, main

SIZES = FluxSizes(doubles=1, singles=2)
TEXT = 512
SIGMA, GUIDANCE = 0.7, 3.5


def reference() -> Any:
    """diffusers' net with random weights, the same ones each time."""
    from benchmarks.peer import FluxTransformer2DModel

    torch.manual_seed(0)
    build: Any = FluxTransformer2DModel
    return build(num_layers=SIZES.doubles, num_single_layers=SIZES.singles, guidance_embeds=True).eval()


def inputs(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latent, text and pooled text, the same ones each time."""
    random = torch.Generator().manual_seed(side)
    made = (torch.randn(*shape, generator=random) for shape in ((1, 16, side // 8, side // 8), (1, TEXT, SIZES.context), (1, SIZES.pooled)))
    x, context, pooled = made
    return x, context, pooled


def work(side: int) -> float:
    """Operations of one call: products with weights, 12 width^2 in a block of either kind, and the two of attention."""
    tokens, width = (side // 16) ** 2 + TEXT, SIZES.width
    return (SIZES.doubles + SIZES.singles) * (2 * 12 * width**2 * tokens + 4 * tokens**2 * width)


def ours() -> dict[str, Run]:
    """Our net on the reference's weights."""
    state, dtype = reference().state_dict(), dtype_here()
    source = Views(Renamed(Held(state), from_diffusers(state)))
    net = leased(lambda: FluxNet(SIZES), source)

    def run(side: int) -> Tensor:
        x, context, pooled = (part.to(dtype) for part in inputs(side))
        out: Tensor = net(x, torch.tensor([SIGMA]), context, pooled, torch.tensor([GUIDANCE]))
        return out

    return {"ours": run}


def theirs() -> dict[str, Run]:
    """diffusers in two types."""

    def run(net: Any, side: int) -> Tensor:
        x, context, pooled = (part.to(net.dtype) for part in inputs(side))
        rows = torch.arange(side // 16)
        places = torch.stack([torch.zeros(side // 16, side // 16), *torch.meshgrid(rows, rows, indexing="ij")], -1).reshape(-1, 3)
        time, guidance = torch.tensor([SIGMA]), torch.tensor([GUIDANCE])
        tokens = to_tokens(x, 2, channels_last=False)
        out = net(tokens, context, pooled, time, places, torch.zeros(TEXT, 3), guidance).sample
        return to_picture(out, side // 8, side // 8, 2, channels_last=False)

    return in_two_types(reference(), run)


STEP = Step(
    "benchmarks.transformer_step",
    "call of a transformer of Flux's shapes, three blocks",
    ours,
    theirs,
    work={256: work(256), 512: work(512)},
    rounds={256: 1, 512: 1},
    floors={},
)

if __name__ == "__main__":
    main(STEP)
