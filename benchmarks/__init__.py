"""Every number in docs/performance.md has a script here, and each script measures one thing.

A script runs alone (`python -m benchmarks.front_start`) and prints what it measured through `table.report`, as rows of a table:
`| what | measured | goal |`. `python -m benchmarks.run` runs them all and puts the rows together. Other output is for the person watching.
"""
