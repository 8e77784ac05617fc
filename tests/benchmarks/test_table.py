"""The rows of the performance table survive the way through a script's output into the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import run, table
from benchmarks.table import Row, read, report


def test_rows_are_read_back_among_other_output(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("chain of 10, cold", "0.10 ms", "≤ 0.15 ms"), Row("idle memory", "60 MB")]
    print("warming up\n" + table.HEAD)
    report(rows)
    print("| not a row")
    assert read(capsys.readouterr().out) == rows


def test_the_page_keeps_its_words_and_the_sections_of_other_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- measured: begin -->\n<!-- measured: end -->\nafter\n")
    monkeypatch.setattr(run, "PAGE", page)
    for name, value in (("load", "1 \\g<0>"), ("front", "2"), ("load", "3 \\g<0>")):
        run.write(name, run.section(name, [Row("a", value, "9")], 0.5))
    text = page.read_text()
    assert text.startswith("before\n<!-- measured: begin -->\n### `front`, ")
    assert text.endswith("| a | 3 \\g<0> | 9 |\n\n<!-- measured: end -->\nafter\n")
    assert text.count("### `") == 2
    assert "| a | 2 | 9 |" in text
    assert "| a | 1 " not in text


def test_a_script_that_fails_is_a_row_and_a_status_and_not_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "scripts", lambda: ["no_such_script"])
    page = tmp_path / "performance.md"
    monkeypatch.setattr(run, "PAGE", page)
    assert run.main(["--write"]) == 1
    assert not page.exists()
    assert "| no_such_script | failed with status 1 |" in capsys.readouterr().out


def test_every_script_is_explained_on_the_page() -> None:
    page = run.PAGE.read_text(encoding="utf-8")
    assert [name for name in run.scripts() if f"`{name}`" not in page] == []
