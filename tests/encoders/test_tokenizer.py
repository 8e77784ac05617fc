"""Chunks of 77 weighted tokens: words kept whole, padding, embeddings, length."""

from __future__ import annotations

import time
from importlib import metadata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backend.base.errors import BadFile, NotInstalled
from backend.encoders.clip import vocabulary
from backend.encoders.clip.tokenizer import LONG_WORD, ClipTokenizer, plain_words
from backend.encoders.clip.vocabulary import END, START, byte_pairs

CAT, DOG = 2368, 1929


def inside(chunk: list) -> list:
    """What stands between start and end of a chunk."""
    tokens = [entry[0] for entry in chunk]
    return chunk[1 : tokens.index(END)]


def test_a_short_prompt() -> None:
    (chunk,) = ClipTokenizer().chunks("a cat")
    assert chunk[:4] == [(START, 1.0), (320, 1.0), (CAT, 1.0), (END, 1.0)]
    assert chunk[4:] == [(END, 1.0)] * 73


def test_padding_of_openclip() -> None:
    (chunk,) = ClipTokenizer(pad=0).chunks("cat")
    assert chunk[2:] == [(END, 1.0)] + [(0, 1.0)] * 74


def test_the_empty_prompt_is_one_chunk() -> None:
    assert ClipTokenizer().chunks("") == ClipTokenizer().chunks("  \n ") == [[(START, 1.0)] + [(END, 1.0)] * 76]


def test_weights_and_word_numbers() -> None:
    (chunk,) = ClipTokenizer().numbered("a (cat:1.5)'s dog")
    assert inside(chunk) == [(320, 1.0, 1), (CAT, 1.5, 2), (568, 1.0, 3), (DOG, 1.0, 4)]


def test_75_tokens_fill_a_chunk_and_76_make_two() -> None:
    assert len(ClipTokenizer().chunks("cat " * 75)) == 1
    first, second = ClipTokenizer().chunks("cat " * 76)
    assert len(inside(first)) == 75 and len(inside(second)) == 1


def test_short_words_move_on_whole_and_long_ones_are_cut() -> None:
    short, long = "12345", "1234567890"
    assert [len(word) for word in plain_words(f"{short} {long}")] == [5, 10]
    first, second = ClipTokenizer().chunks("cat " * 73 + short)
    assert (len(inside(first)), len(inside(second))) == (73, 5)
    first, second = ClipTokenizer().chunks("cat " * 73 + long)
    assert (len(inside(first)), len(inside(second))) == (75, 8)


def test_text_that_spells_control_tokens() -> None:
    assert list(plain_words("<|endoftext|> a")) == [[END], [320]]


@given(st.lists(st.text(st.sampled_from("abcé1!' \n(:日"), max_size=12), max_size=60).map(" ".join))
@settings(max_examples=200, deadline=None)
def test_chunks_hold_every_token_in_order(text: str) -> None:
    tokenizer = ClipTokenizer()
    words = list(tokenizer.words(text))
    chunks = tokenizer.numbered(text)
    assert all(len(chunk) == 77 and chunk[0][0] == START and chunk[76][0] == END for chunk in chunks)
    told = [entry for chunk in chunks for entry in chunk if entry[2] > 0]
    assert [entry[:2] for entry in told] == [token for word in words for token in word]
    for number, word in enumerate(words, start=1):
        homes = {i for i, chunk in enumerate(chunks) for entry in chunk if entry[2] == number}
        assert len(homes) <= 1 or len(word) >= LONG_WORD


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_words_are_the_tokens_of_the_whole_text(text: str) -> None:
    assert [t for word in plain_words(text) for t in word] == byte_pairs().encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", ["cat " * 25_000, "x" * 100_000, "日" * 100_000, "(cat:1.1) " * 10_000, "1" * 100_000])
def test_long_prompts_take_linear_time(text: str) -> None:
    byte_pairs()
    start = time.process_time()
    ClipTokenizer().chunks(text)
    assert time.process_time() - start < 4


def shelf(name: str) -> Tensor | None:
    return {"red": torch.full((2, 4), 7.0), "blue,": torch.full((1, 4), 8.0)}.get(name)


def told(text: str) -> list[tuple[int | float, float]]:
    (chunk,) = ClipTokenizer(lookup=shelf).chunks(text)
    end = next(i for i, entry in enumerate(chunk) if not isinstance(entry[0], Tensor) and entry[0] == END)
    return [(float(token[0]) if isinstance(token, Tensor) else token, weight) for token, weight in chunk[1:end]]


def test_embeddings_stand_for_tokens() -> None:
    assert told("cat embedding:red dog") == [(CAT, 1.0), (7.0, 1.0), (7.0, 1.0), (DOG, 1.0)]
    assert told("(embedding:red:1.4)") == [(7.0, 1.4), (7.0, 1.4)]
    assert told("embedding:red, dog") == [(7.0, 1.0), (7.0, 1.0), (267, 1.0), (DOG, 1.0)]
    assert told("embedding:blue,") == [(8.0, 1.0)]


def test_a_missing_embedding_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert told("cat embedding:green, dog") == [(CAT, 1.0), (267, 1.0), (DOG, 1.0)]
    assert "'green'" in caplog.text


def test_without_a_lookup_the_syntax_is_text() -> None:
    (chunk,) = ClipTokenizer().chunks("embedding:red")
    assert [entry[0] for entry in inside(chunk)] == byte_pairs().encode("embedding:red", add_special_tokens=False).ids


def test_a_missing_vocabulary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(NotInstalled, match="pip install openai-clip"):
        vocabulary.locate()


def test_a_damaged_vocabulary_is_named(tmp_path) -> None:
    path = tmp_path / vocabulary.DATA
    path.write_bytes(b"not gzip")
    with pytest.raises(BadFile, match="bpe_simple_vocab"):
        vocabulary.read_merges(path)
