"""Where the vocabularies of language models come from, and the tokenizers that they make.

`vocabulary(KIND, file)` is all that encoders need. A vocabulary is looked for inside the weights' file, beside it, and among those that
ship; the first one found counts.
"""

from backend.encoders.vocabularies.find import Source, vocabulary
from backend.encoders.vocabularies.kinds import GEMMA, LLAMA3, MISTRAL, QWEN, QWEN3_5, T5, UMT5, Kind

__all__ = ["GEMMA", "LLAMA3", "MISTRAL", "QWEN", "QWEN3_5", "T5", "UMT5", "Kind", "Source", "vocabulary"]
