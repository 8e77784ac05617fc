"""What differs between decoder-only language models of the line that Llama began (Touvron et al. 2023, arXiv:2302.13971)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rope:
    """Rotary places. `linear` divides every angle (Chen et al. 2023); `llama` is Llama 3.1's (factor, low, high, length trained on);
    `yarn` (factor, beta fast, beta slow, length trained on) is that of Peng et al. 2023, arXiv:2309.00071."""

    theta: float = 10000.0
    linear: float = 1.0
    llama: tuple[float, float, float, float] | None = None
    yarn: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class DeltaSizes:
    """Of a layer that remembers in a matrix: heads of keys and of values, channels of each, and tokens that the convolution spans."""

    key_heads: int
    value_heads: int
    key: int
    value: int
    kernel: int


@dataclass(frozen=True)
class LmSizes:
    """Everything a net is built from."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    """Channels of a head."""
    mlp: int
    vocabulary: int
    eps: float = 1e-6
    bias: bool = False
    """Whether queries, keys and values have biases (Qwen 2)."""
    qk_norm: bool = False
    gelu: bool = False
    """A GELU gate (tanh) rather than a SiLU one."""
    offset: bool = False
    """Norms keep their weights less one (Gemma)."""
    sandwich: bool = False
    """Both parts of a layer are normalised after themselves too, and embeddings are scaled by the root of the width (Gemma)."""
    query: float | None = None
    """Queries are scaled by its root rather than that of `head`."""
    cap: float | None = None
    """Scores of attention stay within it by a tanh (Gemma 2)."""
    last_cap: float | None = None
    """Logits likewise."""
    rope: Rope = Rope()
    window: int | None = None
    """How far layers see that see near tokens only."""
    near: int = 0
    """Of so many layers in a row all but the last see near tokens only; 0: none does."""
    near_rope: Rope | None = None
    """Places in those layers, where they differ."""
    sections: tuple[int, ...] = ()
    """Angles that turn by time, row and column (M-RoPE, Wang et al. 2024, arXiv:2409.12191); empty: all by the place in the text."""
    interleaved: bool = False
    """Those take turns (Qwen3-VL) rather than lie in a row."""
    neighbours: bool = False
    """Neighbouring channels turn together, as llama.cpp stores Llama's and Mistral's queries and keys."""
    by_length: tuple[float, float] | None = None
    """(beta, length): queries far into a text are scaled by 1 + beta log(1 + place // length) (Ministral 3)."""

    final: bool = True
    """Whether there is a norm behind the last layer; files that were cut after the layers that a family reads have none."""
    delta: DeltaSizes | None = None
    """Of `every` layers all but the last remember in a matrix (Qwen 3.5)."""
    every: int = 4
    gated: bool = False
    """What attention gives is gated by a half of the queries' product."""
    turning: int | None = None
    """Channels of a head that turn; None: all."""

    def remembers(self, layer: int) -> bool:
        """Whether this layer remembers in a matrix rather than all tokens."""
        return self.delta is not None and (layer + 1) % self.every != 0

    def is_near(self, layer: int) -> bool:
        """Whether this layer sees near tokens only."""
        return self.near > 0 and self.window is not None and (layer + 1) % self.near != 0
