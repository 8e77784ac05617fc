"""Weights stored in few bits: the formats, and how they become numbers again."""
