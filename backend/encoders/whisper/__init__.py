"""Whisper's encoder, as a way to hear sounds."""
