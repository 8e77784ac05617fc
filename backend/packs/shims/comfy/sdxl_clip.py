"""Classes of text encoders, to be tested for and named in annotations."""

import torch


class SDXLClipG(torch.nn.Module):
    pass


class SDXLClipModel(torch.nn.Module):
    pass


class SDXLRefinerClipModel(torch.nn.Module):
    pass


class SDXLTokenizer:
    pass


class SDXLClipGTokenizer:
    pass
