"""One guided denoising call of an SD 1.5-size UNet: ours in bfloat16 (where the CPU has it) against diffusers in float32 and bfloat16.

    python -m benchmarks.unet_step [--side 64 256 512] [--repeats 3] [--threads 1] [--alike]

Same weights, in turns, in two processes: diffusers in the environment as it is, ours in that of a worker, which asks the system for large
pages. `--alike` gives diffusers the same. CPU seconds, the best of the repeats. The weights are random; the work is real (batch 2, 77
tokens).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from backend.families.sd.names import from_diffusers
from backend.families.sd.unet import UNet, UNetSizes
from benchmarks.turns import Run, Step, dtype_here, in_two_types, leased, main


def reference() -> Any:
    """diffusers' net with random weights, the same ones each time."""
    from benchmarks.peer import UNet2DConditionModel

    torch.manual_seed(0)
    build: Any = UNet2DConditionModel
    return build(sample_size=64, cross_attention_dim=768, attention_head_dim=8).eval()


def inputs(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timesteps and text, the same ones each time."""
    random = torch.Generator().manual_seed(side)
    x = torch.randn(2, 4, side // 8, side // 8, generator=random)
    return x, torch.tensor([500.0, 500.0]), torch.randn(2, 77, 768, generator=random)


def ours() -> dict[str, Run]:
    """Our net on the reference's weights."""
    state, dtype = reference().state_dict(), dtype_here()
    source = {name: state[key] for name, key in from_diffusers(state).items()}
    net = leased(lambda: UNet(UNetSizes()), source)

    def run(side: int) -> Tensor:
        x, t, context = inputs(side)
        out: Tensor = net(x.to(dtype).contiguous(memory_format=torch.channels_last), t, context.to(dtype))
        return out

    return {"ours": run}


def theirs() -> dict[str, Run]:
    """diffusers in two types."""

    def run(net: Any, side: int) -> Tensor:
        x, t, context = inputs(side)
        out: Tensor = net(x.to(net.dtype), t, context.to(net.dtype)).sample
        return out

    return in_two_types(reference(), run)


STEP = Step(
    "benchmarks.unet_step",
    "guided step of an SD 1.5-size UNet",
    ours,
    theirs,
    work={64: 0.0273e12, 256: 0.360e12, 512: 1.607e12},
    rounds={64: 5, 256: 2, 512: 1},
    floors={64: (6.0, 2.5), 256: (3.2, 1.2), 512: (2.6, 1.4)},
)

if __name__ == "__main__":
    main(STEP)
