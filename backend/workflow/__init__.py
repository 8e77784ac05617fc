"""Workflow files: the editor's form, the API form, the way between them, and finding both inside pictures and recordings."""
