"""Matrices as products of two thin ones."""

from __future__ import annotations

import torch
from torch import Tensor


def closest(m: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """up [rows, r] and down [r, columns] whose product is the closest to m [rows, columns] of all of rank r (Eckart and Young 1936).

    r is `rank`, or as many as m has rows or columns. Found from the eigenvectors of the smaller Gram matrix, in float64; both factors
    are float32 and share the singular values evenly, so that 16 bits hold either.
    """
    turned = m.shape[0] > m.shape[1]
    wide = (m.T if turned else m).double()
    _, vectors = torch.linalg.eigh(wide @ wide.T)
    up = vectors[:, -rank:].flip(1)
    down = up.T @ wide
    return _even(down, up, turned)


def shortened(up: Tensor, down: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The same for the product of up [rows, n] and down [n, columns], which is never made."""
    if rank >= up.shape[1]:
        return up, down
    q_up, r_up = torch.linalg.qr(up.double())
    q_down, r_down = torch.linalg.qr(down.T.double())
    u, s, vh = torch.linalg.svd(r_up @ r_down.T)
    root = s[:rank].sqrt()
    return (q_up @ (u[:, :rank] * root)).float(), ((root[:, None] * vh[:rank]) @ q_down.T).float()


def _even(down: Tensor, up: Tensor, turned: bool) -> tuple[Tensor, Tensor]:
    root = down.norm(dim=1).sqrt()
    up, down = up * root, down / root.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    return (down.T.float().contiguous(), up.T.float().contiguous()) if turned else (up.float().contiguous(), down.float().contiguous())
