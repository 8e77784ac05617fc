"""Textual inversion (Gal et al. 2022, arXiv:2208.01618): files that hold vectors for `embedding:name`.

Kinds read: A1111's `string_to_param`, diffusers' `{"<token>": vector}`, safetensors with `emb_params`, and SDXL's pair `clip_l`/`clip_g`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from backend.base.errors import BadFile
from backend.base.paths import Folders
from backend.weights.file import Header
from backend.weights.open import open_weights

KIND = "embeddings"
SUFFIXES = (".safetensors", ".pt", ".bin")
MADE_FOR = {768: "SD 1 or CLIP-L", 1024: "SD 2 or OpenCLIP-H", 1280: "SDXL's OpenCLIP-G"}


@dataclass(frozen=True)
class Inversions:
    """The embeddings folder as one text encoder sees it."""

    folders: Folders
    branch: str
    width: int

    def __call__(self, name: str) -> Tensor | None:
        """Vectors [n, width] of the embedding, its extension optional, or None where there is no such file. Raises BadFile."""
        path = self.find(name)
        return None if path is None else self.read(path)

    def find(self, name: str) -> Path | None:
        """The file of that name, or of that name with an extension."""
        known = Path(name).suffix.lower() in self.folders.kind(KIND).extensions
        candidates = ((name,) if known else ()) + tuple(name + suffix for suffix in SUFFIXES)
        return next(filter(None, (self.folders.find(KIND, candidate) for candidate in candidates)), None)

    def read(self, path: Path) -> Tensor:
        """The vectors in the file that this text encoder can take."""
        file = open_weights(path)
        key = choose(file, self.branch, self.width)
        if key is None:
            raise BadFile(
                f"{path.name} holds no token vectors.", hint="Textual inversion files hold one or more vectors per token.", file=path
            )
        vectors = file.tensor(key)
        if vectors.shape[-1] != self.width:
            raise BadFile(
                f"The embedding {path.name} was made for {describe(vectors.shape[-1])}, this text encoder is {describe(self.width)}.",
                hint="Use an embedding made for the model's kind, or remove it from the prompt.",
                file=path,
            )
        return vectors.detach().float().reshape(-1, self.width).clone()


def choose(header: Header, branch: str, width: int) -> str | None:
    """The entry to use: the one named for the branch, then the usual names, then any of the right width, then any at all."""
    rows = [key for key, entry in header.items() if len(entry.shape) in (1, 2) and entry.dtype.is_floating_point and 0 not in entry.shape]
    named = [key for key in (f"clip_{branch}", "emb_params") if key in rows]
    params = [key for key in rows if key.startswith("string_to_param")]
    fitting = [key for key in rows if header[key].shape[-1] == width]
    return next(iter([*named, *params, *fitting, *rows]), None)


def describe(width: int) -> str:
    """A width in words."""
    return f"{MADE_FOR[width]} ({width} wide)" if width in MADE_FOR else f"{width} wide"
