"""A language model on a CLIP wire: a net by name, its vocabulary, and how it is read. A value; changing it gives another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.lm.makes import Make
from backend.encoders.lm.net import LanguageModel
from backend.encoders.lm.reading import Reading
from backend.encoders.lm.sizes import LmSizes
from backend.encoders.lm.text import Text, laid_out
from backend.encoders.lm.vision.spec import Vision
from backend.encoders.text import Encoded, Tokens
from backend.encoders.vocabularies import Source
from backend.memory.pool import Loadable, Pool
from backend.weights.patch import Patch

PLAIN = Reading()
IMAGE_PAD = "<|image_pad|>"


@dataclass(frozen=True)
class LmHandle:
    """One language model."""

    loadable: Loadable
    """Without patches."""
    sizes: LmSizes
    make: Make
    source: Source
    branch: str
    head: Loadable | None = None
    """What makes logits, where it is not the table of embeddings."""
    vision: Vision | None = None
    reading: Reading = PLAIN
    patches: tuple[Patch, ...] = ()

    @property
    def branches(self) -> tuple[str, ...]:
        return (self.branch,)

    @property
    def title(self) -> str:
        return self.make.name

    @property
    def width(self) -> int:
        """Of one layer's hidden states."""
        return self.sizes.width

    @property
    def tokenizer(self) -> Tokenizer:
        """Its vocabulary. Raises BadFile for one that cannot be read."""
        return self.source.tokenizer()

    def read_as(self, reading: Reading) -> Self:
        """The same model, read in another way."""
        return replace(self, reading=reading)

    def with_layer(self, layer: int | None) -> Self:
        """Hidden states of `layer`, counted from the end, in place of those that the family reads. Raises BadInput."""
        if layer is None or layer == -1:
            return self
        if not -self.sizes.layers <= layer < 0:
            raise BadInput(
                f"The layer to stop at is {layer}; {self.title} has {self.sizes.layers}.",
                hint=f"Use -1 (the last layer) to -{self.sizes.layers}.",
            )
        return self.read_as(replace(self.reading, layers=(layer,)))

    def with_options(self, **options: int) -> Self:
        """`<branch>_min_length`: shorter texts are filled up to it."""
        least = options.get(f"{self.branch}_min_length")
        return self if least is None else self.read_as(replace(self.reading, least=least))

    def patched(self, *patches: Patch) -> Self:
        """With these patches after those it has."""
        return replace(self, patches=(*self.patches, *patches))

    def leasable(self) -> Loadable:
        """What to lease: the net with the patches as deltas."""
        return self.loadable.patched(self.patches)

    def ids(self, text: str) -> list[int]:
        """Tokens of a text as it stands."""
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def tokenize(
        self, text: str, return_word_ids: bool = False, images: Sequence[Tensor] = (), template: str | None = None
    ) -> dict[str, Any]:
        """{branch: one chunk of (token, 1.0)} of the prompt in the family's template; weights in a prompt are text to a language model.

        `images` [H, W, 3] take the places of the marks for pictures in the text, in order; `template` is another than the family's. Raises
        BadInput where the text has fewer such marks than there are images.
        """
        reading = self.reading if template is None else replace(self.reading, template=template)
        entries = self.entries(reading.told(text), images, reading.start, reading.end, reading.most)
        return {self.branch: [[(entry, 1.0, i + 1) if return_word_ids else (entry, 1.0) for i, entry in enumerate(entries)]]}

    def entries(
        self, text: str, images: Sequence[Tensor] = (), start: bool = True, end: Sequence[int] = (), most: int | None = None
    ) -> list[Any]:
        """Tokens and pictures of a text as it stands; `start`: behind the tokens that the model's texts begin with. Raises BadInput."""
        ids: list[Any] = [*(self.make.start if start else ()), *self.ids(text), *end][:most]
        if images:
            self._place(images, ids)
        return ids

    def _place(self, images: Sequence[Tensor], ids: list[Any]) -> None:
        """Put pictures in the places of their marks."""
        if self.vision is None:
            raise BadInput(
                f"This {self.title} cannot see: its file holds no vision tower.", hint="Use the file of a VL model, or leave the image out."
            )
        mark = self.tokenizer.token_to_id(IMAGE_PAD)
        at = [i for i, token in enumerate(ids) if token == mark]
        if len(at) < len(images):
            raise BadInput(
                f"The text has {len(at)} places for pictures, but there are {len(images)}.",
                hint=f"Write {self.make.image} where a picture belongs.",
            )
        for i, image in zip(at, images, strict=False):
            ids[i] = {"type": "image", "data": image}

    def conditioning(self, text: str, pool: Pool) -> list[list[Any]]:
        """The prompt as a CONDITIONING value."""
        return self.encoded(self.tokenize(text), pool).conditioning()

    def encode(self, tokens: Tokens, pool: Pool) -> tuple[Tensor, Tensor | None]:
        """(cond, None) of `encoded`."""
        return self.encoded(tokens, pool).cond, None

    def encoded(self, tokens: Tokens, pool: Pool) -> Encoded:
        """What the family's reading makes of the hidden states, float32 on the CPU. Raises BadInput."""
        chunks = tokens.get(self.branch)
        if not chunks:
            raise BadInput(
                f"These tokens are for {', '.join(tokens) or 'no text encoder'}; this text encoder takes '{self.branch}'.",
                hint="Tokenize the prompt with the same CLIP that encodes it.",
            )
        most = max(self.reading.layers)
        if most > self.sizes.layers:
            raise BadInput(
                f"This {self.title} has {self.sizes.layers} layers, but layer {most} is to be read.",
                hint="Use the file that belongs to the model: this one was cut for another, or is a smaller one.",
            )
        text = self.read([entry[0] for chunk in chunks for entry in chunk], pool)
        states = self._run(text, pool)
        drop = self.reading.dropped(text.tokens[0].tolist())
        cond = self.reading.mix(states)[..., drop:, :]
        if cond.shape[-2] == 0:
            raise BadInput("Nothing is left of the prompt to encode.", hint="Write the prompt without the template's own marks.")
        extra = {"attention_mask": text.there[:, drop:].long()} if self.reading.mask else {}
        return Encoded(cond, None, extra)

    def read(self, ids: Sequence[Any], pool: Pool) -> Text:
        """Tokens laid out, with pictures seen and padding added. Raises BadInput."""
        least = self.reading.least
        pad = self.make.pad if self.reading.pad is None else self.reading.pad
        see = self.vision.see if self.vision is not None else None
        seen = [see(token["data"], pool) if isinstance(token, dict) and see is not None else token for token in ids]
        text = laid_out(seen, self.title, self.width, self.sizes.vocabulary)
        return text if text.length >= least else text.padded(least - text.length, pad, self.reading.pad_left)

    @torch.no_grad()
    def _run(self, text: Text, pool: Pool) -> list[Tensor]:
        """Hidden states [1, T, width] of the layers that are read, float32 on the CPU."""
        loadable = self.leasable()
        with pool.lease(loadable, self.working(text.length)) as leased:
            net = cast(LanguageModel, leased)
            x = text.embedded(net, loadable.dtype, pool.device)
            states = net(x, self.reading.layers, finish=self.reading.finish, **text.facts(pool.device))
            return [state.float().cpu() for state in states]

    def working(self, length: int) -> int:
        """Bytes of activations at the widest point: hidden states that are kept, the perceptron's gate and product, scores of all heads."""
        s = self.sizes
        kept = (len(self.reading.layers) + 3) * s.width
        widest = max(3 * s.mlp, s.heads * (4 * s.head + length))
        return length * (kept + widest) * 4
