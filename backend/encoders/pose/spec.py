"""Which pose model a file holds, and the joints of people in pictures."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from backend.base.errors import BadFile, UnknownModel
from backend.encoders.pose.decode import Floats, frame_of, joints, seen
from backend.encoders.pose.names import RULES
from backend.encoders.pose.net import PoseNet, PoseSizes
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import count
from backend.weights.file import Views, WeightFile, identity
from backend.weights.keymap import MappedNames, apply
from backend.weights.open import open_weights

Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels."""
HEADS = {384: 12, 768: 12, 1024: 16, 1280: 16}
HEAD_WIDTH = 64
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
JOINTS = 17
AT_ONCE = 8
"""People seen in one pass."""


@dataclass(frozen=True)
class PoseModel:
    """One pose model."""

    loadable: Loadable
    sizes: PoseSizes

    @torch.no_grad()
    def people(self, image: Tensor, boxes: Sequence[Box], pool: Pool) -> list[Floats]:
        """For each box of `image` [H, W, 3] in 0..1 its person: x, y in pixels and how sure the net is [17, 3], in the order of COCO."""
        size = self.sizes.size
        pixels = np.ascontiguousarray(image[..., :3].float().cpu().numpy())
        found: list[Floats] = []
        for start in range(0, len(boxes), AT_ONCE):
            frames = [frame_of(box, size) for box in boxes[start : start + AT_ONCE]]
            views = torch.from_numpy(np.stack([seen(pixels, frame, size) for frame in frames]))
            views = ((views - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).movedim(-1, 1)
            with pool.lease(self.loadable, self._working(len(frames))) as net:
                heat = net(views.to(pool.device, self.loadable.dtype)).float().cpu().numpy()
            found += [joints(each, frame) for each, frame in zip(heat, frames, strict=True)]
        return found

    def _working(self, people: int) -> int:
        rows, columns = self.sizes.grid
        return 4 * people * rows * columns * (self.sizes.width * 24 + 16 * self.sizes.hidden)


def load_pose_model(path: Path | str) -> PoseModel:
    """ViTPose or ViTPose++ (small, base, large, huge; either head) in the authors' names or those of transformers, alone or as a folder.

    It runs in float32: with fewer digits the highest pixels of a heat map are equal, and joints move.

    Raises MissingFile, BadFile, UnknownModel.
    """
    file = open_weights(path)
    mapped = MappedNames(file, apply(RULES, file).parts)
    hint = "ViTPose and ViTPose++ for the 17 joints of COCO are known, for example vitpose-base-simple.safetensors."
    try:
        sizes = _sizes(mapped)
        with torch.device("meta"):
            net = PoseNet(sizes)
        odd = next((name for name, p in net.named_parameters() if mapped[name].shape != tuple(p.shape)), None)
    except KeyError as error:
        text = f"{file.path.name} is no pose model that is known: it has no {error.args[0]}."
        raise UnknownModel(text, hint=hint, file=file.path) from error
    if sizes.joints != JOINTS:
        raise UnknownModel(f"{file.path.name} finds {sizes.joints} joints, not 17.", hint=hint, file=file.path)
    if odd is not None:
        raise BadFile(f"{file.path.name} is a pose model whose {odd} has an unexpected shape.", hint="It is damaged.", file=file.path)
    return PoseModel(Loadable(f"{identity(file)}#pose", functools.partial(PoseNet, sizes), Views(mapped), dtype=torch.float32), sizes)


def _sizes(file: WeightFile) -> PoseSizes:
    width = file["norm.weight"].shape[0]
    places = file["position_embeddings"].shape[1] - 1
    rows = max(1, round((places * 4 / 3) ** 0.5))  # people are seen upright, 4 to 3
    return PoseSizes(
        width=width,
        layers=count(file, "layers"),
        heads=_heads(file, width),
        mlp=file["layers.0.fc1.weight"].shape[0],
        grid=(rows, places // rows),
        expert=file["layers.0.expert.weight"].shape[0] if "layers.0.expert.weight" in file else 0,
        hidden=file["head.doubling1.kernel"].shape[1] if "head.doubling1.kernel" in file else 0,
        joints=file["head.conv.weight"].shape[0],
    )


def _heads(file: WeightFile, width: int) -> int:
    """What a configuration beside the file says; else by width, since shapes do not tell."""
    try:
        said = json.loads((file.path.parent / "config.json").read_text("utf-8"))["backbone_config"]
        heads = int(said["num_attention_heads"]) if said["hidden_size"] == width else 0
    except (OSError, ValueError, KeyError, TypeError):
        heads = 0
    return heads if heads > 0 and width % heads == 0 else HEADS.get(width, max(1, width // HEAD_WIDTH))
