"""The geometry of what pictures show: Depth Anything 3 and MoGe, on DINOv2."""
