"""The wires. `Image` is a Tensor to the type checker and an IMAGE socket to the editor.

Shapes: IMAGE float32 `[B, H, W, C]` in 0..1; MASK float32 `[B, H, W]`, 1 = selected; LATENT a dict whose `samples` is
`[B, C, H/8, W/8]` (never changed in place: copy the dict); CONDITIONING a list of `[tokens [B, T, D], dict]`; SIGMAS a 1-D float tensor,
descending, on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from torch import Tensor

from backend.graph.schema import Socket

if TYPE_CHECKING:  # a wire's Python type matters to the type checker only; its Socket is what runs
    from backend.adapters.gligen import Gligen as GligenModel
    from backend.adapters.patches import ModelPatch as ModelPatchFile
    from backend.adapters.style import StyleModel as StyleModelFile
    from backend.codecs.kl.spec import VaeHandle
    from backend.control.control import Control
    from backend.diffusion.guiders import Guider
    from backend.diffusion.handle import ModelHandle
    from backend.diffusion.samplers import Solver
    from backend.encoders.clip_vision.handle import VisionHandle, VisionOutput
    from backend.encoders.text import TextEncoder
else:
    ModelHandle = TextEncoder = VisionHandle = VisionOutput = VaeHandle = Guider = Solver = Control = GligenModel = Any
    ModelPatchFile = StyleModelFile = Any


class NoiseMaker(Protocol):
    """What a NOISE wire carries: a seed, and unit noise for a latent dict, on the CPU."""

    @property
    def seed(self) -> int: ...

    def generate_noise(self, latent: dict[str, Any]) -> Tensor: ...


Model = Annotated[ModelHandle, Socket("MODEL")]
Clip = Annotated[TextEncoder, Socket("CLIP")]
Vae = Annotated[VaeHandle, Socket("VAE")]
ClipVision = Annotated[VisionHandle, Socket("CLIP_VISION")]
ClipVisionOutput = Annotated[VisionOutput, Socket("CLIP_VISION_OUTPUT")]
Image = Annotated[Tensor, Socket("IMAGE")]
Mask = Annotated[Tensor, Socket("MASK")]
Latent = Annotated[dict[str, Any], Socket("LATENT")]
Conditioning = Annotated[list[Any], Socket("CONDITIONING")]
Sigmas = Annotated[Tensor, Socket("SIGMAS")]
SamplerWire = Annotated[Solver, Socket("SAMPLER")]
GuiderWire = Annotated[Guider, Socket("GUIDER")]
Noise = Annotated[NoiseMaker, Socket("NOISE")]
Svg = Annotated[Any, Socket("SVG")]
ControlNet = Annotated[Control, Socket("CONTROL_NET")]
StyleModel = Annotated[StyleModelFile, Socket("STYLE_MODEL")]
ModelPatch = Annotated[ModelPatchFile, Socket("MODEL_PATCH")]
LoraModel = Annotated[Mapping[str, Tensor], Socket("LORA_MODEL")]
Gligen = Annotated[GligenModel, Socket("GLIGEN")]
LatentOperation = Annotated[Callable[..., Tensor], Socket("LATENT_OPERATION")]

# Values that widgets hold, as outputs.
IntOut = Annotated[int, Socket("INT")]
FloatOut = Annotated[float, Socket("FLOAT")]
TextOut = Annotated[str, Socket("STRING")]
BoolOut = Annotated[bool, Socket("BOOLEAN")]
Anything = Annotated[Any, Socket("*", wildcard=True)]

MAX_SIDE = 16384  # pixels: the longest side any node accepts
