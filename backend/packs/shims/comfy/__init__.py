"""`comfy`: the names node packs import, standing for what this application has."""
