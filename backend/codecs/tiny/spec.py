"""Which tiny autoencoder a file, or a pair of files, holds."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping

import torch

from backend.base.errors import BadFile
from backend.codecs.kl.spec import VaeHandle
from backend.codecs.tiny.net import TinyAutoencoder, TinySizes
from backend.memory.pool import Loadable
from backend.weights.file import Renamed, Views, WeightFile, identity
from backend.weights.folder import ShardedFile

LATENTS: Mapping[str, tuple[float, float]] = {
    "taesd": (0.18215, 0.0), "taesdxl": (0.13025, 0.0), "taesd3": (1.5305, 0.0609), "taef1": (0.3611, 0.1159),
}  # fmt: skip
"""Name -> scale and shift of the latents that the weights were trained on."""


def from_pair(encoder: WeightFile, decoder: WeightFile, name: str, dtype: torch.dtype = torch.float32) -> VaeHandle:
    """The autoencoder called `name` in LATENTS, from its two published files. Raises BadFile."""
    halves = {f"encoder.{key}": encoder for key in encoder} | {f"decoder.{key}": decoder for key in decoder}
    views = {half: Renamed(file, {f"{half}.{key}": key for key in file}) for half, file in (("encoder", encoder), ("decoder", decoder))}
    return _handle(ShardedFile(decoder.path, {key: views[key.split(".")[0]] for key in halves}), *LATENTS[name], dtype)


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32) -> VaeHandle | None:
    """A tiny autoencoder with both halves in one file, or None where it holds none. Raises BadFile for one that is incomplete.

    Its scale is in the file (`vae_scale`, `vae_shift`) or told by its name and channels; weights and shapes cannot tell.
    """
    names = _names(file)
    ends = [file[names[end]].shape for end in ("encoder.0.weight", "decoder.1.weight") if end in names]
    if len(ends) < 2 or any(len(shape) != 4 for shape in ends):
        return None
    renamed = Renamed(file, names)
    if "vae_scale" in file:
        shift = float(file.tensor("vae_shift")) if "vae_shift" in file else 0.0
        return _handle(renamed, float(file.tensor("vae_scale")), shift, dtype)
    return _handle(renamed, *LATENTS[_guess(file, renamed["decoder.1.weight"].shape[1])], dtype)


def _guess(file: WeightFile, channels: int) -> str:
    text = f"{file.path.parent.parent.name}/{file.path.parent.name}/{file.path.name}".lower()
    if channels == 16:
        return "taef1" if "f1" in text or "flux" in text else "taesd3"
    return "taesdxl" if "xl" in text else "taesd"


def _names(keys: Iterable[str]) -> dict[str, str]:
    """Net parameter name -> file key: diffusers' spelling, whose decoder does not count the bound, or both published files as one."""
    names = {}
    for key in keys:
        if match := re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.(.+)", key):
            number = int(match[2]) + (match[1] == "decoder")
            names[f"{match[1]}.{number}.{match[3]}"] = key
        elif match := re.fullmatch(r"taesd_(encoder|decoder)\.(\d+\..+)", key):
            names[f"{match[1]}.{match[2]}"] = key
    return names


def _handle(file: WeightFile, scale: float, shift: float, dtype: torch.dtype) -> VaeHandle:
    try:
        sizes = TinySizes(file["decoder.1.weight"].shape[0], file["decoder.1.weight"].shape[1], scale, shift)
        with torch.device("meta"):
            net = TinyAutoencoder(sizes)
        odd = next((name for name, p in net.named_parameters() if file[name].shape != tuple(p.shape)), None)
    except KeyError as error:
        text = f"{file.path.name} holds a tiny autoencoder without the weight {error.args[0]}."
        raise BadFile(text, hint="The file is incomplete: fetch it again.", file=file.path) from error
    if odd is not None:
        raise BadFile(
            f"{file.path.name} holds a tiny autoencoder whose weight {odd} has the shape {list(file[odd].shape)}, which is not known.",
            hint="The file is damaged or of an unknown variant.",
            file=file.path,
        )
    return VaeHandle(Loadable(f"{identity(file)}#vae", functools.partial(TinyAutoencoder, sizes), Views(file), dtype=dtype), sizes)
