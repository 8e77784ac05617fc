"""What language models see with: the vision towers of Qwen 2.5 VL and Qwen 3 VL, and how pictures become their tokens."""
