"""Adapter files (LoRA and its relatives): what their tensors mean as changes of weights, and which weights their names mean."""
