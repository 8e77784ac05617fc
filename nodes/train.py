"""Training LoRAs: pictures and texts from a folder, the training, its losses as a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput, MissingFile, Problem
from backend.base.paths import contain
from backend.diffusion import training
from backend.engine.context import Context
from backend.families import kin
from backend.graph.choices import medium
from backend.graph.declare import Bool, Choice, Float, Int, SavePrefix, Wired, node
from backend.graph.schema import Files, Socket
from backend.imaging.picture import read_picture
from backend.imaging.plot import curve
from backend.imaging.resize import resize_image
from backend.weights import lora
from backend.weights.held import Held
from backend.weights.open import open_weights
from nodes.image_files import METADATA, save_pictures
from nodes.loaders import open_named
from nodes.types import Clip, Conditioning, Image, IntOut, Latent, LoraModel, Model

train_node = partial(node, category="training", module="comfy_extras.nodes_train", experimental=True)
FOLDERS = Files("input", content=("folder",))
NONE = "[None]"
WAYS = ["None", "Stretch", "Crop", "Pad"]
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
Losses = Annotated[Mapping[str, Any], Socket("LOSS_MAP")]


class Learnt(NamedTuple):
    model_with_lora: Model
    lora: LoraModel
    loss: Losses
    steps: IntOut


class ImagesAndTexts(NamedTuple):
    IMAGE: Image
    CONDITIONING: Conditioning


def _folder() -> str:
    widget: str = Choice(FOLDERS, tooltip="A folder of the input directory.")
    return widget


def _pictures(ctx: Context, folder: str) -> list[Path]:
    """The pictures of a folder of the input directory, by name."""
    inside = contain(ctx.services.folders.directory("input"), folder)
    found = sorted(path for path in inside.iterdir() if path.is_file() and medium(path.name) == "image") if inside.is_dir() else []
    if not found:
        raise MissingFile(f"The folder {folder!r:.100} of the input directory holds no pictures.", node=ctx.node, input="folder")
    return found


def _fitted(image: Tensor, width: int, height: int, way: str) -> Tensor:
    """[1, H, W, 3] in another size: stretched, cut to its aspect, or with black borders."""
    if way == "Pad":
        scale = min(width / image.shape[2], height / image.shape[1])
        inner = max(1, round(image.shape[2] * scale)), max(1, round(image.shape[1] * scale))
        small = resize_image(image, *inner, "lanczos")
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        made = torch.zeros(1, height, width, 3)
        made[:, top : top + inner[1], left : left + inner[0]] = small
        return made
    return resize_image(image, width, height, "lanczos", "center" if way == "Crop" else "disabled")


def _set(ctx: Context, paths: list[Path], way: str, width: int = -1, height: int = -1) -> Tensor:
    """One batch of all pictures: in the size given, else in that of the first."""
    images: list[Tensor] = []
    for path in paths:
        ctx.check()
        image = read_picture(path)[0][:1]
        wide = width if width > 0 else (images[0] if images else image).shape[2]
        high = height if height > 0 else (images[0] if images else image).shape[1]
        if (image.shape[2], image.shape[1]) != (wide, high):
            if way == "None":
                text = f"{path.name} is {image.shape[2]} x {image.shape[1]}, the others are {wide} x {high}."
                raise BadInput(text, hint="Choose how to resize them.", node=ctx.node, input="resize_method")
            image = _fitted(image, wide, high, way)
        images.append(image)
    return torch.cat(images)


@train_node("LoadImageSetFromFolderNode", title="Load Image Dataset from Folder", category="loaders")
def load_image_set(ctx: Context, *, folder: str = _folder(), resize_method: str = Choice(WAYS, "None", optional=True)) -> Image:
    """All pictures of a folder of the input directory as one batch; other sizes than the first one's are resized."""
    return _set(ctx, _pictures(ctx, folder), resize_method)


def _side() -> int:
    widget: int = Int(-1, min=-1, max=10000, step=1, optional=True, tooltip="-1: as the first picture.")
    return widget


@train_node("LoadImageTextSetFromFolderNode", title="Load Image and Text Dataset from Folder", category="loaders")
def load_image_text_set(
    ctx: Context,
    *,
    folder: str = _folder(),
    clip: Clip = Wired(),
    resize_method: str = Choice(WAYS, "None", optional=True),
    width: int = _side(),
    height: int = _side(),
) -> ImagesAndTexts:
    """Pictures of a folder of the input directory, and what text files of the same names say about them, encoded one by one."""
    paths = _pictures(ctx, folder)
    entries: list[Any] = []
    for path in paths:
        ctx.check()
        said = path.with_suffix(".txt")
        text = said.read_text("utf-8", "replace").strip() if said.is_file() else ""
        entries.append(clip.conditioning(text, ctx.services.pool)[0])
    return ImagesAndTexts(_set(ctx, paths, resize_method, width, height), entries)


@train_node("TrainLoraNode", title="Train LoRA")
def train_lora(
    ctx: Context,
    *,
    model: Model = Wired(),
    latents: Latent = Wired(tooltip="The pictures to learn, encoded."),
    positive: Conditioning = Wired(tooltip="One text for all, or one for each."),
    batch_size: int = Int(1, min=1, max=10000, step=1),
    grad_accumulation_steps: int = Int(1, min=1, max=1024, step=1),
    steps: int = Int(16, min=1, max=100000),
    learning_rate: float = Float(0.0005, min=0.0000001, max=1.0, step=0.000001),
    rank: int = Int(8, min=1, max=128),
    optimizer: str = Choice(list(training.OPTIMIZERS), "AdamW"),
    loss_function: str = Choice(list(training.LOSSES), "MSE"),
    seed: int = Int(0, min=0, max=2**64 - 1),
    training_dtype: str = Choice(list(DTYPES), "bf16"),
    lora_dtype: str = Choice(list(DTYPES), "bf16", tooltip="How the result is kept; it is learnt in fp32."),
    algorithm: str = Choice(list(training.ALGORITHMS), "LoRA"),
    gradient_checkpointing: bool = Bool(True, tooltip="Less memory, a third more time."),
    existing_lora: str = Choice(Files("loras", extra=(NONE,)), NONE, tooltip="One to go on with, of the same kind and rank."),
) -> Learnt:
    """Teach a LoRA what pictures show. The model's own weights stay as they are."""
    plan = training.Plan(
        steps, batch_size, grad_accumulation_steps, learning_rate, rank, algorithm, optimizer, loss_function, seed,
        DTYPES[training_dtype], gradient_checkpointing,
    )  # fmt: skip
    begin, earlier = None, 0
    if existing_lora != NONE:
        file = open_named(ctx, "existing_lora", "loras", existing_lora, open_weights)
        begin = {key: file.tensor(key).float() for key in file}
        counted = re.search(r"(\d+)_steps", Path(existing_lora).name)
        earlier = int(counted[1]) if counted else 0
    pool = ctx.services.pool
    pool.free()  # training holds the weights and what it learns from them in its own way

    def on_step(step: int, loss: float) -> None:
        ctx.progress(step + 1, steps)

    try:
        made = training.train(model, latents["samples"], positive, plan, pool.device, on_step=on_step, begin=begin)
        tensors = {key: value.to(DTYPES[lora_dtype]) for key, value in made.tensors.items()}
        patched, _, _ = lora.apply(model, None, Held(tensors, "the trained LoRA"), kin=kin)
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__
    assert patched is not None
    ctx.log(f"The loss went from {made.losses[0]:.4f} to {made.losses[-1]:.4f} in {steps} steps.")
    return Learnt(patched, tensors, {"loss": made.losses}, earlier + steps)


@train_node("LossGraphNode", title="Plot Loss Graph", output=True, hidden=METADATA)
def loss_graph(ctx: Context, *, loss: Losses = Wired(default={}), filename_prefix: str = SavePrefix("loss_graph")) -> None:
    """Draw how the loss went."""
    values = loss.get("loss") if isinstance(loss, Mapping) else None
    if not values:
        raise BadInput("There are no losses to draw.", hint="Connect Train LoRA.", node=ctx.node, input="loss")
    picture = curve([float(value) for value in values], "loss", "step")
    ctx.show("images", save_pictures(ctx, picture, filename_prefix, "temp", 1))
