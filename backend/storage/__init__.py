"""SQLite and files: queue, history, events, settings, user data, pictures on disk. Knows no socket, no node and no torch."""
