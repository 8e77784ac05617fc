"""LongCat-Image: Flux's blocks, told of the time alone, with places for the prompt's tokens too.

Meituan LongCat 2025, arXiv:2512.07584.
"""

from __future__ import annotations

from backend.families.flux.net import FluxNet
from backend.families.flux.places import Layout

LENGTH = 512
"""Tokens of a prompt; the picture's rows and columns are counted on from there."""


class LongCatNet(FluxNet):
    layout = Layout(text=(1, 2), first=(1, LENGTH, LENGTH), method="index")
