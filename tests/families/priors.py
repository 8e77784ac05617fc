"""A tiny random prior of unCLIP, for the twin of its decoder in kinds."""

from __future__ import annotations

import torch
from diffusers import PriorTransformer

from tests.families import kinds

EMBED = 32


def twin() -> PriorTransformer:
    torch.manual_seed(0)
    prior = PriorTransformer(
        num_attention_heads=1, attention_head_dim=64, num_layers=2, embedding_dim=EMBED, embedding_proj_dim=EMBED, clip_embed_dim=EMBED
    ).eval()
    prior = kinds.lively(prior)
    prior.encoder_hidden_states_proj = torch.nn.Linear(64, 64)
    prior.clip_std.data += 1.0
    prior.proj_to_clip_embeddings.weight.data *= 10  # some answers leave the bounds
    return prior
