"""IP-Adapter files of all kinds, from shapes alone."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from backend.adapters.ip.net import IPAdapterNet, IPSizes
from backend.base.errors import BadFile, UnknownModel
from backend.families.load import Services
from backend.memory.pool import Loadable
from backend.weights.adapters.kinds import LowRank
from backend.weights.complete import require
from backend.weights.detect import count, sample_of
from backend.weights.file import Header, Views, WeightFile, identity
from backend.weights.open import open_weights

KEY = re.compile(r"ip_adapter\.(\d+)\.to_k_ip\.weight")


@dataclass(frozen=True)
class IPAdapter:
    """What travels on an IP_ADAPTER wire."""

    file: WeightFile
    sizes: IPSizes
    dtype: torch.dtype
    shortcut: bool
    """Faces of the second version keep the identity's own tokens; such files are known by their names only."""

    @property
    def loadable(self) -> Loadable:
        build = functools.partial(IPAdapterNet, self.sizes)
        return Loadable(f"{identity(self.file)}#ip", build, Views(self.file), dtype=self.dtype)

    def factors(self, number: int, projection: str) -> LowRank | None:
        """The low-rank change of attention `number` (self-attention and cross-attention counted in turn) that came with a face adapter."""
        base = f"ip_adapter.{number}.{projection}_lora"
        if f"{base}.up.weight" not in self.file:
            return None
        return LowRank(self.file.tensor(f"{base}.up.weight"), self.file.tensor(f"{base}.down.weight"), 1.0)


def load_ip_adapter(path: Path | str, services: Services) -> IPAdapter:
    """The adapter in a file; only the header is read. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    if not any(KEY.fullmatch(key) for key in file):
        text = f"{file.path.name} holds no IP-Adapter: its tensors are named {sample_of(file)}."
        raise UnknownModel(text, hint="Choose an IP-Adapter file.", file=file.path)
    try:
        sizes = sizes_of(file)
    except KeyError as error:
        text = f"{file.path.name} looks like an IP-Adapter, but the weight {error.args[0]} is missing."
        raise BadFile(text, hint="The file is incomplete: fetch it again.", file=file.path) from error
    require(functools.partial(IPAdapterNet, sizes), file, "an IP-Adapter")
    dtype = services.device.compute_dtype("unet", services.settings)
    return IPAdapter(file, sizes, dtype, shortcut="plusv2" in file.path.stem.lower().replace("-", "").replace("_", ""))


def sizes_of(header: Header) -> IPSizes:
    """Sizes from shapes. Raises KeyError for a missing weight."""
    numbers = sorted(int(found[1]) for key in header if (found := KEY.fullmatch(key)))
    layers = tuple((str(n), header[f"ip_adapter.{n}.to_k_ip.weight"].shape[0]) for n in numbers)
    context = header[f"ip_adapter.{numbers[0]}.to_k_ip.weight"].shape[1]
    if "image_proj.latents" in header:
        _, tokens, width = header["image_proj.latents"].shape
        cin, depth = header["image_proj.proj_in.weight"].shape[1], count(header, "image_proj.layers")
        return IPSizes("plus", cin, context, tokens, layers, width, depth)
    if "image_proj.proj.3.weight" in header:
        hidden, cin = header["image_proj.proj.0.weight"].shape
        return IPSizes("full", cin, context, 0, layers, hidden=hidden)
    if "image_proj.proj.0.weight" in header:
        hidden, cin = header["image_proj.proj.0.weight"].shape
        tokens = header["image_proj.proj.2.weight"].shape[0] // context
        if "image_proj.perceiver_resampler.proj_in.weight" not in header:
            return IPSizes("face", cin, context, tokens, layers, hidden=hidden)
        clip = header["image_proj.perceiver_resampler.proj_in.weight"].shape[1]
        depth = count(header, "image_proj.perceiver_resampler.layers")
        return IPSizes("face plus", cin, context, tokens, layers, hidden=hidden, clip=clip, depth=depth)
    cout, cin = header["image_proj.proj.weight"].shape
    return IPSizes("base", cin, context, cout // context, layers)
