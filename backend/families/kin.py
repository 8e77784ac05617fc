"""Kinds of models in the words of messages: what an adapter was made for, and what the model in hand is."""

from __future__ import annotations

UNETS = {
    (768, False): "SD 1.x",
    (1024, False): "SD 2.x",
    (1024, True): "SD 2.x unCLIP",
    (1280, True): "the SDXL refiner",
    (2048, True): "SDXL",
}
"""UNets by the width of the text they read and whether they have a vector condition."""


def of_unet(context: int, vector: bool) -> str:
    """A UNet in words."""
    return UNETS.get((context, vector)) or f"a UNet that reads text {context} wide"
