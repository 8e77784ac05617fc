"""What Qwen Image asks its text encoder, and what of the answer it hears."""

from __future__ import annotations

from typing import Any, cast

import pytest

from backend.encoders.lm.handle import LmHandle
from backend.encoders.vocabularies import QWEN, vocabulary
from backend.families.qwen_image.texts import DESCRIBE, EDIT, QWEN_IMAGE, READING, before_prompt


@pytest.mark.parametrize(("template", "left_out"), [(DESCRIBE, 34), (EDIT, 64)])
def test_the_prompt_and_what_follows_are_heard(template: str, left_out: int) -> None:
    tokenizer = vocabulary(QWEN).tokenizer()
    tokens = tokenizer.encode(template.replace("{}", "a red fox"), add_special_tokens=False).ids
    assert before_prompt(tokens) == left_out
    assert tokenizer.decode(tokens[left_out:], skip_special_tokens=False) == "a red fox<|im_end|>\n<|im_start|>assistant\n"
    assert before_prompt(tokens[:30]) == 0


def test_one_encoder_of_the_right_kind_is_read_so() -> None:
    qwen = LmHandle(cast(Any, None), cast(Any, None), cast(Any, None), vocabulary(QWEN), "qwen25_7b")
    joined = QWEN_IMAGE.join([qwen])
    assert isinstance(joined, LmHandle) and joined.reading == READING
    other = LmHandle(cast(Any, None), cast(Any, None), cast(Any, None), vocabulary(QWEN), "gemma2_2b")
    assert QWEN_IMAGE.join([other]) is None and QWEN_IMAGE.join([qwen, qwen]) is None
