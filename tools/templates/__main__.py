"""Write web/templates anew: a graph and a thumbnail for each template, and the index."""

from __future__ import annotations

import json
from typing import Any

from tools.templates import FOLDER, definitions, entry, templates, workflow
from tools.templates.thumbnail import draw


def main() -> None:
    known, all_of_them = definitions(), templates()
    for old in (*FOLDER.glob("*.json"), *FOLDER.glob("*.svg")):
        old.unlink()
    for template in all_of_them:
        laid_out = workflow(template, known)
        _write(f"{template.name}.json", laid_out)
        (FOLDER / f"{template.name}.svg").write_text(draw(laid_out), encoding="utf-8")
    _write("index.json", [entry(template) for template in all_of_them])


def _write(name: str, value: Any) -> None:
    (FOLDER / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
