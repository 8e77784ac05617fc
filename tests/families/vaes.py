"""Tiny random twins of autoencoders that are no plain KL autoencoder."""

from __future__ import annotations

import torch
from diffusers import AsymmetricAutoencoderKL, ConsistencyDecoderVAE

DOWN, UP = "DownEncoderBlock2D", "UpDecoderBlock2D"


def asymmetric() -> AsymmetricAutoencoderKL:
    torch.manual_seed(2)
    return AsymmetricAutoencoderKL(
        down_block_types=(DOWN,) * 4, down_block_out_channels=(32, 32, 64, 64), layers_per_down_block=1, up_block_types=(UP,) * 4,
        up_block_out_channels=(32, 64, 128, 128), layers_per_up_block=2, norm_num_groups=8,
    ).eval()  # fmt: skip


def consistency() -> ConsistencyDecoderVAE:
    torch.manual_seed(3)
    return ConsistencyDecoderVAE(
        encoder_block_out_channels=(32, 64), encoder_down_block_types=(DOWN,) * 2, encoder_layers_per_block=1, encoder_norm_num_groups=8,
        decoder_block_out_channels=(32, 64), decoder_layers_per_block=1, decoder_down_block_types=("ResnetDownsampleBlock2D",) * 2,
        decoder_up_block_types=("ResnetUpsampleBlock2D",) * 2,
    ).eval()  # fmt: skip
