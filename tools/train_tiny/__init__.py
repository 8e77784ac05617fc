"""How models/checkpoints/emulsion-tiny.safetensors is made; see README.md."""
