"""The control net's net under its published name."""

from backend.control.unet.net import ControlNet

__all__ = ["ControlNet"]
