"""What changes a model from outside by taps and has weights of its own: image prompts, boxes, styles, hypernetworks."""
