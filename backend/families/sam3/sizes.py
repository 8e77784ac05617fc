"""Everything that differs between nets of SAM 3, read from shapes."""

from __future__ import annotations

from dataclasses import dataclass

from backend.weights.detect import count
from backend.weights.file import Header

HEAD_WIDTH = 64
"""Of the vision transformer's heads in all published weights."""
LARGER = 3
"""A picture is seen at so many times the sides that the vision transformer's places were trained for."""
QUARTERS = 4
"""The last layer of each quarter of the vision transformer looks at the whole picture, the others at windows of the trained size."""


@dataclass(frozen=True)
class Sam3Sizes:
    width: int = 1024
    """Of the vision transformer."""
    layers: int = 32
    mlp: int = 4736
    patch: int = 14
    grid: int = 24
    """Patches along the side of a window."""
    class_place: bool = True
    """Whether the table of places begins with one for a class token, which the net has no use for."""
    hidden: int = 256
    """Of everything behind the vision transformer."""
    text: int = 1024
    """Of the text encoder's hidden states."""
    feed: int = 2048
    heads: int = 8
    queries: int = 200
    encoder: int = 6
    decoder: int = 6
    geometry: int = 3
    roi: int = 7
    """Cells along the side of what is cut out for a box."""
    mask_channels: int = 16
    """Within the embedding of a mask that is given; 0 for a net without the half for points, boxes and refining."""
    two_way: int = 2
    """Layers of that half's decoder."""
    two_way_feed: int = 2048
    quality: int = 256
    """Width of the head that says how good a mask is."""

    @property
    def side(self) -> int:
        """Pixels along each side of a picture as the net sees it."""
        return LARGER * self.grid * self.patch

    @property
    def interactive(self) -> bool:
        """Whether the net segments what points, boxes and masks mean."""
        return self.mask_channels > 0


def sizes_of(header: Header) -> Sam3Sizes:
    """Sizes from the shapes of a net's weights. Raises KeyError or ValueError where they contradict each other."""
    width, _, patch, _ = header["vision.trunk.patch_embed.proj.weight"].shape
    found = header["vision.trunk.pos_embed"].shape[1]
    grid = int(found**0.5)
    if found - grid**2 not in (0, 1) or width % HEAD_WIDTH:
        raise ValueError(f"{found} places and a width of {width}")
    interactive = "prompts.mask_downscaling.3.weight" in header
    feed_two_way = header["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0] if interactive else 0
    return Sam3Sizes(
        width=width,
        layers=count(header, "vision.trunk.blocks"),
        mlp=header["vision.trunk.blocks.0.mlp.fc1.weight"].shape[0],
        patch=patch,
        grid=grid,
        class_place=found != grid**2,
        hidden=header["resizer.weight"].shape[0],
        text=header["resizer.weight"].shape[1],
        feed=header["decoder.layers.0.linear1.weight"].shape[0],
        heads=header["decoder.boxRPB_embed_x.layers.1.weight"].shape[0],
        queries=header["decoder.query_embed.weight"].shape[0],
        encoder=count(header, "encoder.layers"),
        decoder=count(header, "decoder.layers"),
        geometry=count(header, "geometry.encode"),
        roi=header["geometry.boxes_pool_project.weight"].shape[-1],
        mask_channels=header["prompts.mask_downscaling.3.weight"].shape[0] if interactive else 0,
        two_way=count(header, "mask_decoder.transformer.layers") if interactive else 0,
        two_way_feed=feed_two_way,
        quality=header["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0] if interactive else 0,
    )
