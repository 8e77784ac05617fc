"""Control nets: what adds to the inner maps of a diffusion net by looking at a picture. Each folder here is one kind, found by listing."""
