"""How a graph runs: signatures, schedule, caches, list mapping, executor. No torch, no sockets, no storage."""
