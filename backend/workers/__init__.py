"""How front and worker talk, and the supervised child process. No torch, no node, no socket."""
