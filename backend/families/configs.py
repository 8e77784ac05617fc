"""What the configuration files that were once published beside checkpoints say about reading one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.base.errors import BadFile
from backend.diffusion.handle import ModelHandle
from backend.diffusion.noise import DiscreteNoise, v


@dataclass(frozen=True)
class Config:
    """`velocity`: the net predicts v. `clip_layer`: the text encoder layer to stop at, from the end; None: the last."""

    velocity: bool = False
    clip_layer: int | None = None

    def applied(self, model: ModelHandle) -> ModelHandle:
        """The model with the prediction the configuration names; without one it keeps its own."""
        return model.with_noise(DiscreteNoise(v(), model.noise.sigmas)) if self.velocity else model


PUBLISHED: dict[str, Config] = {
    "anything_v3.yaml": Config(clip_layer=-2),
    "v1-inference.yaml": Config(),
    "v1-inference_clip_skip_2.yaml": Config(clip_layer=-2),
    "v1-inference_clip_skip_2_fp16.yaml": Config(clip_layer=-2),
    "v1-inference_fp16.yaml": Config(),
    "v1-inpainting-inference.yaml": Config(),
    "v2-inference-v.yaml": Config(velocity=True),
    "v2-inference-v_fp32.yaml": Config(velocity=True),
    "v2-inference.yaml": Config(),
    "v2-inference_fp32.yaml": Config(),
    "v2-inpainting-inference.yaml": Config(),
}
"""Their names; the files themselves are not needed. Number formats in them are ignored: the device decides."""


def read_config(path: Path) -> Config:
    """The facts in another file of that form (`model.params` with `parameterization` and `cond_stage_config`). Raises BadFile."""
    import yaml  # only for those who still have such a file

    try:
        params: Any = yaml.safe_load(path.read_text("utf-8"))["model"]["params"]
        encoder: Any = (params.get("cond_stage_config") or {}).get("params") or {}
        index = encoder.get("layer_idx")
        skip = None if index is None else int(index)
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadFile(
            f"{path.name} is not a model configuration: {error}.", hint="Use Load Checkpoint, which needs no configuration.", file=path
        ) from error
    if skip is not None and skip >= 0:  # counted from the embeddings of a twelve layer encoder
        skip -= 13
    return Config(params.get("parameterization") == "v", skip if skip is not None and skip < -1 else None)
