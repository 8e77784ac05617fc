"""What a workflow is: documents, node types, their declaration and validation. Pure; no torch, no server, no execution."""
