"""Classes of text encoders, to be tested for and named in annotations."""

import torch


class SD3ClipModel(torch.nn.Module):
    pass


class T5XXLModel(torch.nn.Module):
    pass


class SD3Tokenizer:
    pass
