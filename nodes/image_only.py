"""Checkpoints that are conditioned on pictures alone: a net, an image encoder and a VAE."""

from __future__ import annotations

from typing import NamedTuple

from backend.engine.context import Context
from backend.families.save import save
from backend.graph.declare import FileChoice, SavePrefix, node
from nodes.image_files import METADATA, embedded
from nodes.loaders import unclip_checkpoint_loader
from nodes.model_merging import save_path
from nodes.types import ClipVision, Model, Vae

MODULE = "comfy_extras.nodes_video_model"


class ImageOnly(NamedTuple):
    MODEL: Model
    CLIP_VISION: ClipVision
    VAE: Vae


@node(
    "ImageOnlyCheckpointLoader", title="Image Only Checkpoint Loader (img2vid model)", category="loaders/video_models", module=MODULE
)  # fmt: skip
def image_only_checkpoint_loader(ctx: Context, *, ckpt_name: str = FileChoice("checkpoints")) -> ImageOnly:
    """Load a checkpoint that is conditioned on pictures: its net, its image encoder and its VAE."""
    found = unclip_checkpoint_loader(ctx, ckpt_name=ckpt_name)
    return ImageOnly(found.MODEL, found.CLIP_VISION, found.VAE)


@node("ImageOnlyCheckpointSave", category="advanced/model_merging", module=MODULE, output=True, hidden=METADATA)
def image_only_checkpoint_save(
    ctx: Context, *, model: Model, clip_vision: ClipVision, vae: Vae, filename_prefix: str = SavePrefix("checkpoints/ComfyUI")
) -> None:
    """Save a net with its image encoder and VAE as one file."""
    save(save_path(ctx, filename_prefix), embedded(ctx), model, vae=vae, vision=clip_vision)
