"""A tiny random twin of BLIP-Diffusion's folder."""

from __future__ import annotations

from pathlib import Path

import torch

from backend.encoders.qformer.net import QFormer, QFormerSizes, TowerSizes
from backend.nn.layers import init_weights
from backend.weights.save import save_safetensors
from tests.families import kinds

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat")
TOWER = TowerSizes(width=64, layers=1, heads=1, mlp=32, positions=5)
SIZES = QFormerSizes(tower=TOWER, width=64, layers=1, heads=1, mlp=32, queries=2, vocabulary=5, positions=8, projection=32, looks=(0,))


def blip(folder: Path) -> None:
    kinds.make("sd1").folder(folder)
    net = init_weights(QFormer(SIZES))
    for parameter in (net.query_tokens, net.visual_encoder.embeddings.class_embedding, net.visual_encoder.embeddings.position_embedding):
        torch.nn.init.normal_(parameter, std=0.02)
    (folder / "qformer").mkdir()
    save_safetensors(folder / "qformer" / "model.safetensors", {key: value.clone() for key, value in net.state_dict().items()})
    (folder / "qformer" / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
