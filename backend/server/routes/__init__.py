"""The published routes, one file per subject. Each has a `routes` table; `app.py` adds it plain and under `/api`."""
