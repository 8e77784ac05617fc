"""CLIP's image encoder: what pictures mean, for models and adapters that are conditioned on pictures."""
