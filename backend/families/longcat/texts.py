"""How LongCat-Image reads Qwen2.5-VL 7B: what stands in quotation marks is spelled, letter by letter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.reading import Reading
from backend.encoders.lm.text import Text
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families.joining import Joiner
from backend.families.longcat.net import LENGTH
from backend.families.qwen_image.texts import BRANCHES, before_prompt
from backend.memory.pool import Pool

SYSTEM = (
    "As an image captioning expert, generate a descriptive text prompt based on an image content,"
    " suitable for input to a text-to-image model."
)
BEFORE = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
"""What is told before the prompt. What would come behind it, it could not hear."""
QUOTED = re.compile("|".join(f"{first}[^{first}{last}]*?{last}" for first, last in ("''", '""', "‘’", "“”")))
INSIDE = re.compile(r"(?<=[a-zA-Z])'(?=[a-zA-Z])")
"""An apostrophe, which quotes nothing."""


def spelled(prompt: str) -> Iterator[str]:
    """The prompt in pieces that are cut into tokens each on its own."""
    end = 0
    for match in QUOTED.finditer(INSIDE.sub("\0", prompt)):
        if match.start() > end:
            yield prompt[end : match.start()]
        yield from prompt[match.start() : match.end()]
        end = match.end()
    if end < len(prompt):
        yield prompt[end:]


@dataclass(frozen=True)
class LongCatText(LmHandle):
    """The language model with LongCat's way of reading a prompt."""

    def tokenize(
        self, text: str, return_word_ids: bool = False, images: Sequence[Tensor] = (), template: str | None = None
    ) -> dict[str, Any]:
        """As LmHandle's; the prompt alone counts as long as it may be."""
        prompt = [token for piece in spelled(text) for token in self.ids(piece)][:LENGTH]
        ids = [*self.ids(BEFORE), *prompt]
        return {self.branch: [[(token, 1.0, i + 1) if return_word_ids else (token, 1.0) for i, token in enumerate(ids)]]}

    def read(self, ids: Sequence[Any], pool: Pool) -> Text:
        least = len(self.ids(BEFORE)) + LENGTH
        return LmHandle.read(replace(self, reading=replace(self.reading, least=least)), ids, pool)


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    only = encoders[0] if len(encoders) == 1 else None
    if not isinstance(only, LmHandle) or only.branch not in BRANCHES:
        return None
    text = LongCatText(**{field.name: getattr(only, field.name) for field in fields(only)})
    return text.read_as(Reading(template=BEFORE + "{}", drop=before_prompt))


LONGCAT = Joiner("LongCat-Image", "Qwen2.5-VL 7B", ("longcat_image",), _join)
