"""The commands of main.py: one file each, `serve`, `run`, `doctor`. What they have in common with the web page lives in the server."""
