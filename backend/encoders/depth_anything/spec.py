"""Which depth model a file holds, and depth maps of pictures."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadFile, UnknownModel
from backend.encoders.depth_anything.net import PATCH, DepthAnything, DepthSizes
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import count
from backend.weights.file import Views, WeightFile, identity
from backend.weights.keymap import MappedNames, Rename, Rule, Split, apply
from backend.weights.open import open_weights

_TRANSFORMERS = r"backbone\.encoder\.layer\.(\d+)\."
_ORIGINAL = r"(?:pretrained\.)blocks\.(\d+)\."
_OURS = r"backbone.layers.\1."
RULES: tuple[Rule, ...] = (
    # transformers
    Rename(r"backbone\.embeddings\.(cls_token|position_embeddings)", r"backbone.\1"),
    Rename(r"backbone\.embeddings\.patch_embeddings\.projection\.(weight|bias)", r"backbone.patches.\1"),
    Rename(_TRANSFORMERS + r"norm([12])\.(weight|bias)", _OURS + r"norm\2.\3"),
    Rename(_TRANSFORMERS + r"attention\.attention\.([qkv])[a-z]+\.(weight|bias)", _OURS + r"\2.\3"),
    Rename(_TRANSFORMERS + r"attention\.output\.dense\.(weight|bias)", _OURS + r"out.\2"),
    Rename(_TRANSFORMERS + r"layer_scale([12])\.lambda1", _OURS + r"scale\2"),
    Rename(_TRANSFORMERS + r"mlp\.(fc[12])\.(weight|bias)", _OURS + r"\2.\3"),
    Rename(r"backbone\.layernorm\.(weight|bias)", r"backbone.norm.\1"),
    Rename(r"neck\.reassemble_stage\.layers\.(\d)\.projection\.(weight|bias)", r"neck.projections.\1.\2"),
    Rename(r"neck\.reassemble_stage\.layers\.0\.resize\.(weight|bias)", r"neck.finer4.\1"),
    Rename(r"neck\.reassemble_stage\.layers\.1\.resize\.(weight|bias)", r"neck.finer2.\1"),
    Rename(r"neck\.reassemble_stage\.layers\.3\.resize\.(weight|bias)", r"neck.coarser.\1"),
    Rename(r"neck\.convs\.(\d)\.weight", r"neck.convs.\1.weight"),
    Rename(r"neck\.fusion_stage\.layers\.(\d)\.projection\.(weight|bias)", r"neck.fusion.\1.projection.\2"),
    Rename(
        r"neck\.fusion_stage\.layers\.(\d)\.residual_layer([12])\.convolution([12])\.(weight|bias)", r"neck.fusion.\1.residual\2.conv\3.\4"
    ),
    Rename(r"head\.conv([123])\.(weight|bias)", r"head.conv\1.\2"),
    # the authors' own
    Rename(r"pretrained\.cls_token", "backbone.cls_token"),
    Rename(r"pretrained\.pos_embed", "backbone.position_embeddings"),
    Rename(r"pretrained\.patch_embed\.proj\.(weight|bias)", r"backbone.patches.\1"),
    Rename(_ORIGINAL + r"norm([12])\.(weight|bias)", _OURS + r"norm\2.\3"),
    Split(_ORIGINAL + r"attn\.qkv\.(weight|bias)", tuple(rf"{_OURS}{name}.\2" for name in "qkv")),
    Rename(_ORIGINAL + r"attn\.proj\.(weight|bias)", _OURS + r"out.\2"),
    Rename(_ORIGINAL + r"ls([12])\.gamma", _OURS + r"scale\2"),
    Rename(_ORIGINAL + r"mlp\.(fc[12])\.(weight|bias)", _OURS + r"\2.\3"),
    Rename(r"pretrained\.norm\.(weight|bias)", r"backbone.norm.\1"),
    Rename(r"depth_head\.projects\.(\d)\.(weight|bias)", r"neck.projections.\1.\2"),
    Rename(r"depth_head\.resize_layers\.0\.(weight|bias)", r"neck.finer4.\1"),
    Rename(r"depth_head\.resize_layers\.1\.(weight|bias)", r"neck.finer2.\1"),
    Rename(r"depth_head\.resize_layers\.3\.(weight|bias)", r"neck.coarser.\1"),
    *(Rename(rf"depth_head\.scratch\.layer{i + 1}_rn\.weight", f"neck.convs.{i}.weight") for i in range(4)),
    *(
        rule
        for i in range(4)  # numbered from fine to coarse there
        for rule in (
            Rename(rf"depth_head\.scratch\.refinenet{4 - i}\.out_conv\.(weight|bias)", rf"neck.fusion.{i}.projection.\1"),
            Rename(
                rf"depth_head\.scratch\.refinenet{4 - i}\.resConfUnit([12])\.conv([12])\.(weight|bias)",
                rf"neck.fusion.{i}.residual\1.conv\2.\3",
            ),
        )
    ),
    Rename(r"depth_head\.scratch\.output_conv1\.(weight|bias)", r"head.conv1.\1"),
    Rename(r"depth_head\.scratch\.output_conv2\.0\.(weight|bias)", r"head.conv2.\1"),
    Rename(r"depth_head\.scratch\.output_conv2\.2\.(weight|bias)", r"head.conv3.\1"),
)
SPREAD = {12: (3, 6, 9, 12), 24: (5, 12, 18, 24), 40: (10, 20, 30, 40)}
"""After which layers version 2 looks in, by depth; version 1 takes the last four."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD_WIDTH = 64


@dataclass(frozen=True)
class DepthModel:
    """One depth model."""

    loadable: Loadable
    sizes: DepthSizes

    @torch.no_grad()
    def depth(self, images: Tensor, pool: Pool, side: int = 518) -> Tensor:
        """Depth of `images` [B, H, W, 3] in 0..1 as [B, H, W], larger is nearer, each from 0 to 1.

        Pictures are seen with their shorter side near `side`, both rounded to multiples of 14.
        """
        found = []
        for image in images:
            pixels = prepared(image.unsqueeze(0), side)
            with pool.lease(self.loadable, self._working(pixels)) as net:
                depth: Tensor = net(pixels.to(pool.device, self.loadable.dtype)).float().cpu()
            depth = F.interpolate(depth.unsqueeze(1), images.shape[1:3], mode="bilinear", align_corners=True)[0, 0]
            low, high = depth.aminmax()
            found.append((depth - low) / (high - low).clamp(min=1e-6))
        return torch.stack(found)

    def _working(self, pixels: Tensor) -> int:
        patches = pixels.shape[2] * pixels.shape[3] // PATCH**2
        return 4 * (patches * self.sizes.width * 12 + pixels[0, 0].numel() * (self.sizes.fusion + self.sizes.head))


def prepared(images: Tensor, side: int) -> Tensor:
    """[B, H, W, 3] in 0..1 -> [B, 3, h, w] normalised."""
    height, width = images.shape[1:3]
    scale = side / min(height, width)
    size = [max(1, round(n * scale / PATCH)) * PATCH for n in (height, width)]
    x = F.interpolate(images[..., :3].movedim(-1, 1).float(), size, mode="bicubic", antialias=True).clamp(0, 1)
    return (x - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(DEVIATION).reshape(3, 1, 1)


def load_depth_model(path: Path | str, dtype: torch.dtype = torch.float32) -> DepthModel:
    """Depth Anything 1 or 2 (small, base, large) in the authors' names or those of transformers, alone or as a folder.

    Raises MissingFile, BadFile, UnknownModel.
    """
    file = open_weights(path)
    mapped = MappedNames(file, apply(RULES, file).parts)
    try:
        sizes = _sizes(mapped, _taken(file, count(mapped, "backbone.layers")))
        with torch.device("meta"):
            net = DepthAnything(sizes)
        odd = next((name for name, p in net.named_parameters() if mapped[name].shape != tuple(p.shape)), None)
    except KeyError as error:
        hint = "Depth Anything in its small, base and large sizes is known, for example depth_anything_v2_vits.safetensors."
        raise UnknownModel(f"{file.path.name} is no depth model: it has no {error.args[0]}.", hint=hint, file=file.path) from error
    if odd is not None:
        raise BadFile(f"{file.path.name} is a depth model whose {odd} has an unexpected shape.", hint="It is damaged.", file=file.path)
    return DepthModel(Loadable(f"{identity(file)}#depth", functools.partial(DepthAnything, sizes), Views(mapped), dtype=dtype), sizes)


def _sizes(file: WeightFile, taken: tuple[int, int, int, int]) -> DepthSizes:
    width = file["backbone.cls_token"].shape[-1]
    first, second, third, last = (file[f"neck.projections.{i}.weight"].shape[0] for i in range(4))
    return DepthSizes(
        width=width,
        layers=count(file, "backbone.layers"),
        heads=max(1, width // HEAD_WIDTH),
        mlp=file["backbone.layers.0.fc1.weight"].shape[0],
        positions=file["backbone.position_embeddings"].shape[1],
        neck=(first, second, third, last),
        fusion=file["neck.convs.0.weight"].shape[0],
        head=file["head.conv2.weight"].shape[0],
        taken=taken,
    )


def _taken(file: WeightFile, layers: int) -> tuple[int, int, int, int]:
    """What a configuration beside the file says; else by the file's name, since shapes do not tell the versions apart."""
    config = file.path.parent / "config.json"
    try:
        said: Sequence[int] = json.loads(config.read_text("utf-8"))["backbone_config"]["out_indices"]
        one, two, three, four = (int(i) for i in said)
        return one, two, three, four
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a file on its own
    name = file.path.name.lower()
    is_first = "depth_anything_vit" in name or "depth-anything-vit" in name
    last = (layers - 3, layers - 2, layers - 1, layers)
    return last if is_first else SPREAD.get(layers, last)
