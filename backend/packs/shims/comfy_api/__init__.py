"""`comfy_api`: the schema form of nodes."""
