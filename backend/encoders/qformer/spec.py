"""Which subject encoder a folder holds, and prompts with a subject in them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from backend.base.errors import BadFile, BadInput, MissingFile, UnknownModel
from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.vocabulary import END, START
from backend.encoders.clip_vision.handle import prepared
from backend.encoders.qformer.net import QFormer, QFormerSizes, TowerSizes
from backend.encoders.qformer.words import find_words, word_pieces
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import count
from backend.weights.file import Header, Renamed, Views, identity
from backend.weights.folder import read_json
from backend.weights.open import open_weights

HEAD_WIDTH = 64
BEGIN = 2
"""Where the subject's vectors stand in a prompt unless the model says otherwise: after the start token and the article."""


@dataclass(frozen=True)
class SubjectEncoder:
    """One Q-Former with the word list it reads by."""

    loadable: Loadable
    sizes: QFormerSizes
    words: Tokenizer
    begin: int = BEGIN
    """The position in the prompt from which on its vectors stand."""

    @torch.no_grad()
    def subject(self, image: Tensor, name: str, pool: Pool) -> Tensor:
        """What `image` [B, H, W, 3+] in 0..1 holds of the subject `name`: [B, queries, width], float32 on the CPU.

        Pictures are squeezed into the encoder's square. Raises BadInput for a name that is too long.
        """
        ids = self.words.encode(name).ids
        if len(ids) > self.sizes.positions:
            raise BadInput(f"The subject's name has {len(ids)} tokens; there is room for {self.sizes.positions}.", hint="A word or two do.")
        pixels = prepared(image, self.sizes.tower.side, crop=False)
        found = []
        with pool.lease(self.loadable, self._working(len(ids))) as net:
            for picture in pixels:  # one after the other: as fast, and no more memory for many
                x = picture.unsqueeze(0).to(pool.device, self.loadable.dtype)
                found.append(net(x, torch.tensor([ids], device=pool.device)).float().cpu())
        return torch.cat(found)

    def _working(self, words: int) -> int:
        """Bytes of activations of a picture at the widest point."""
        t, s = self.sizes.tower, self.sizes
        tower = t.positions * (t.width * 6 + max(2 * t.mlp, t.heads * t.positions * 2))
        return 4 * max(tower, t.positions * t.width + (s.queries + words) * (s.width * 6 + 2 * s.mlp) + s.queries * s.heads * t.positions)


def with_subject(clip: ClipHandle, vectors: Tensor, text: str, begin: int, pool: Pool) -> list[list[Any]]:
    """The prompt with the subject's `vectors` [n, width] among its tokens, as CONDITIONING; what does not fit beside them is cut off.

    They pass through the text encoder as tokens do (arXiv:2305.14720, section 3.2). Raises BadInput where the widths differ.
    """
    length, width = clip.sizes.positions, clip.sizes.width
    if vectors.shape[1] != width or len(vectors) + begin >= length:
        raise BadInput(
            f"This subject is {len(vectors)} vectors, each {vectors.shape[1]} wide; the text encoder reads {length}, each {width} wide.",
            hint="Use the text encoder of the same model: a folder's unet, text_encoder and qformer belong together.",
        )
    room = length - len(vectors) - 2
    body = [entry for word in clip.tokenizer.words(text) for entry in word][:room]
    plain = [(START, 1.0), *body, (END, 1.0)]
    plain += [(clip.tokenizer.pad, 1.0)] * (length - len(vectors) - len(plain))
    chunk = [*plain[:begin], *((vector, 1.0) for vector in vectors), *plain[begin:]]
    cond, pooled = clip.encode({clip.branch: [chunk]}, pool)
    return [[cond, {"pooled_output": pooled}]]


def load_subject_encoder(folder: Path | str, dtype: torch.dtype = torch.float32) -> SubjectEncoder:
    """The subject encoder of a BLIP-Diffusion folder in the diffusers layout: `qformer` and the word list.

    Raises MissingFile, BadFile, UnknownModel.
    """
    folder = Path(folder)
    if not (folder / "qformer").is_dir():
        raise MissingFile(
            f"There is no folder qformer in {folder.name}.", hint="BLIP-Diffusion has one beside unet and text_encoder.", file=folder
        )
    file, config = open_weights(folder / "qformer"), folder / "qformer" / "config.json"
    try:
        sizes = sizes_of(file, read_json(config) if config.is_file() else {})
        with torch.device("meta"):
            net = QFormer(sizes)
        odd = next((name for name, p in net.named_parameters() if file[name].shape != tuple(p.shape)), None)
    except KeyError as error:
        hint = "BLIP-Diffusion's is known; the other models of BLIP-2 have no words beside their queries."
        raise UnknownModel(f"{file.path.name} is no subject encoder: it has no {error.args[0]}.", hint=hint, file=file.path) from error
    except (ValueError, IndexError) as error:
        raise BadFile(f"{file.path.name} looks like a subject encoder, but {error}.", hint="It is damaged.", file=file.path) from error
    if odd is not None:
        raise BadFile(f"{file.path.name} is a subject encoder whose {odd} has an unexpected shape.", hint="It is damaged.", file=file.path)
    listed = find_words(folder)
    words = word_pieces(listed)
    if max(words.get_vocab().values()) >= sizes.vocabulary:
        text = f"The word list {listed.name} has more than the {sizes.vocabulary} pieces that the subject encoder knows."
        raise BadFile(text, hint="Use the vocab.txt of bert-base-uncased.", file=listed)
    source = Views(Renamed(file, {name: name for name, _ in net.named_parameters()}))
    loadable = Loadable(f"{identity(file)}#qformer", functools.partial(QFormer, sizes), source, dtype=dtype)
    index = folder / "model_index.json"
    begin = read_json(index).get("ctx_begin_pos") if index.is_file() else None
    return SubjectEncoder(loadable, sizes, words, begin if isinstance(begin, int) and begin >= 0 else BEGIN)


def sizes_of(header: Header, config: Mapping[str, Any]) -> QFormerSizes:
    """Sizes from shapes, and from a folder's configuration what they do not say. Raises KeyError naming what is missing."""
    seeing, reading = (part if isinstance(part := config.get(key), dict) else {} for key in ("vision_config", "qformer_config"))
    tower, layer = "visual_encoder.encoder.layers", "encoder.layer"
    _, positions, width = header["visual_encoder.embeddings.position_embedding"].shape
    vision = TowerSizes(
        width=width,
        layers=count(header, tower),
        heads=_heads(seeing, width),
        mlp=header[f"{tower}.0.mlp.fc1.weight"].shape[0],
        patch=header["visual_encoder.embeddings.patch_embedding.weight"].shape[-1],
        positions=positions,
        qkv_bias=f"{tower}.0.self_attn.qkv.bias" in header,
        quick=seeing.get("hidden_act", "quick_gelu") == "quick_gelu",
        eps=_eps(seeing, TowerSizes.eps),
    )
    vocabulary, width = header["embeddings.word_embeddings.weight"].shape
    layers = count(header, layer)
    return QFormerSizes(
        tower=vision,
        width=width,
        layers=layers,
        heads=_heads(reading, width),
        mlp=header[f"{layer}.0.intermediate_query.dense.weight"].shape[0],
        queries=header["query_tokens"].shape[1],
        vocabulary=vocabulary,
        positions=header["embeddings.position_embeddings.weight"].shape[0],
        projection=header["proj_layer.dense1.weight"].shape[0],
        looks=tuple(i for i in range(layers) if f"{layer}.{i}.crossattention.attention.query.weight" in header),
        eps=_eps(reading, QFormerSizes.eps),
    )


def _heads(config: Mapping[str, Any], width: int) -> int:
    """As configured, else by their usual width. Raises ValueError."""
    heads = config.get("num_attention_heads", max(1, width // HEAD_WIDTH))
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError(f"its configuration says {heads} heads for a width of {width}")
    return heads


def _eps(config: Mapping[str, Any], usual: float) -> float:
    eps = config.get("layer_norm_eps", usual)
    return float(eps) if isinstance(eps, int | float) and eps > 0 else usual
