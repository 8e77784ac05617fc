"""Node packs as files: where they come from, how they are put in place and taken back. Nothing here runs their code."""
