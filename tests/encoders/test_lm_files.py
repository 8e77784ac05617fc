"""Language models as people have them: quantised GGUF files that bring their vocabulary, and float8 with scales."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.net import LanguageModel
from backend.encoders.lm.sizes import LmSizes
from backend.families.load import load_text_encoder
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from tests.families import tiny
from tests.golden.test_lm import LLAMA_CPP
from tests.tools.language_twins import drawn, prefixed

WORDS = [*"abcdefghijklmnopqrstuvwxyz", "Ġ", "ab", *(f"[{i}]" for i in range(4)), "<|im_end|>"]
ROWS = 64
SIZES = LmSizes(width=64, layers=2, heads=2, kv_heads=1, head=64, mlp=96, vocabulary=ROWS, qk_norm=True)


def gguf_file(path: Path, state: dict[str, torch.Tensor]) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([1] * (len(WORDS) - 1) + [3])
    writer.add_token_merges(["a b"])
    for key, value in state.items():
        part, _, kind = key.rpartition(".")
        found = re.fullmatch(r"layers\.(\d+)\.(.+)", part)
        name = LLAMA_CPP[found[2] if found else part] if not part.endswith(("q_norm", "k_norm")) else f"attn_{part[-6:]}"
        name = name.replace("post_attention_norm", "ffn_norm")
        raw = value.float().numpy()
        if value.ndim == 2:
            raw = gguf.quants.quantize(raw, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"blk.{found[1]}.{name}.{kind}" if found else f"{name}.{kind}", raw, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"blk.{found[1]}.{name}.{kind}" if found else f"{name}.{kind}", raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def state() -> dict[str, torch.Tensor]:
    return drawn(LanguageModel(SIZES), torch.float32)


def hidden(path: Path, tmp_path: Path, ids: list[int]) -> torch.Tensor:
    handle = load_text_encoder(path, tiny.services(tmp_path))
    assert isinstance(handle, LmHandle) and handle.title == "Qwen 3"
    return handle.encoded({handle.branch: [[(i, 1.0) for i in ids]]}, Pool("cpu")).cond


def test_a_quantised_file_with_its_vocabulary(tmp_path: Path) -> None:
    gguf_file(tmp_path / "q.gguf", state())
    handle = load_text_encoder(tmp_path / "q.gguf", tiny.services(tmp_path))
    assert isinstance(handle, LmHandle) and handle.ids("abc ab<|im_end|>") == [27, 2, 26, 27, WORDS.index("<|im_end|>")]
    save_safetensors(tmp_path / "plain.safetensors", prefixed(state(), "model."))
    want = hidden(tmp_path / "plain.safetensors", tmp_path, [1, 5, 9, 3])
    got = hidden(tmp_path / "q.gguf", tmp_path, [1, 5, 9, 3])
    assert (got - want).abs().mean() < 0.02 * want.abs().mean()


def test_float8_with_scales(tmp_path: Path) -> None:
    plain, stored = state(), {}
    for key, value in plain.items():
        if value.ndim == 2 and "embed" not in key:
            scale = value.abs().max() / 448
            stored["model." + key] = (value / scale).to(torch.float8_e4m3fn)
            stored["model." + key.replace(".weight", ".scale_weight")] = scale.reshape(1)
        else:
            stored["model." + key] = value
    stored["scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    save_safetensors(tmp_path / "f8.safetensors", stored)
    save_safetensors(tmp_path / "plain.safetensors", prefixed(plain, "model."))
    got, want = (hidden(tmp_path / f"{name}.safetensors", tmp_path, [1, 5, 9, 3]) for name in ("f8", "plain"))
    assert (got - want).abs().mean() < 0.1 * want.abs().mean()
