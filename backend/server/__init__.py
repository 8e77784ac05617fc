"""HTTP and websockets. Foreign wire words live in `wire.py` and `routes/` only. No torch, no child processes."""
