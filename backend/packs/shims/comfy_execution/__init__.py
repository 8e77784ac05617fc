"""`comfy_execution`: graphs that nodes turn into, and what is known of a run."""
