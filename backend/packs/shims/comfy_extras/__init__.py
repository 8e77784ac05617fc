"""`comfy_extras`: modules of core nodes, made when they are asked for."""
