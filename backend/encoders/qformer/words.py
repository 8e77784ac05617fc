"""BERT's word pieces (Devlin et al. 2018, arXiv:1810.04805), from the word list beside a model."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from backend.base.errors import BadFile, MissingFile

PLACES = ("qformer", "qformer_tokenizer", "tokenizer_2", "tokenizer", ".")
"""Folders of a model that may hold its word list; `tokenizer` is as a rule CLIP's."""
NAMES = ("vocab.txt", "vocab")
FIRST, LAST, UNKNOWN, PAD = "[CLS]", "[SEP]", "[UNK]", "[PAD]"


def find_words(folder: Path) -> Path:
    """The word list of a model's folder: one piece a line. Raises MissingFile."""
    for place in PLACES:
        for name in NAMES:
            if (path := folder / place / name).is_file():
                return path
    raise MissingFile(
        f"There is no word list vocab.txt in {folder.name}, by which the subject's name is read.",
        hint=f"It is that of bert-base-uncased, which is published apart from the model: place its vocab.txt into {folder.name}/qformer.",
        file=folder / PLACES[0] / NAMES[0],
    )


def word_pieces(path: Path) -> Tokenizer:
    """The tokenizer of a word list: lower case without accents, longest piece first, between [CLS] and [SEP]. Raises BadFile."""
    try:
        lines = path.read_text("utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"The word list {path.name} cannot be read: {error}.", hint="Fetch it again.", file=path) from error
    vocabulary = {line: i for i, line in enumerate(lines)}
    missing = [piece for piece in (FIRST, LAST, UNKNOWN) if piece not in vocabulary]
    if missing:
        hint = "It should be the vocab.txt of bert-base-uncased, one piece of a word a line."
        raise BadFile(f"The word list {path.name} has no {missing[0]}.", hint=hint, file=path)
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing((LAST, vocabulary[LAST]), (FIRST, vocabulary[FIRST]))
    return tokenizer
