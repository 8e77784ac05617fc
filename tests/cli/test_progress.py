"""The progress bar counts what was done and names what is being done."""

from __future__ import annotations

import io

from backend.cli.progress import ProgressBar

GRAPH = {
    "1": {"class_type": "Loader", "_meta": {"title": "Model"}},
    "2": {"class_type": "KSampler"},
    "3": {"class_type": "Save"},
    "4": {"class_type": "X"},
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_fraction_adds_finished_nodes_and_the_share_of_the_one_at_work() -> None:
    bar = ProgressBar(GRAPH, io.StringIO())
    bar.see("execution_cached", {"nodes": ["1"]})
    bar.see("progress", {"node": "2", "value": 5, "max": 10})
    assert bar.fraction() == (1 + 0.5) / 4
    bar.see("progress_state", {"nodes": {"2": {"state": "finished"}, "3": {"state": "running"}}})
    assert bar.fraction() == 2 / 4


def test_elsewhere_than_on_a_terminal_each_node_is_one_line() -> None:
    out = io.StringIO()
    bar = ProgressBar(GRAPH, out)
    for node in ("1", "2"):
        bar.see("executing", {"node": node, "display_node": node})
        for step in range(3):
            bar.see("progress", {"node": node, "value": step, "max": 3})
    bar.see("executing", {"node": None})
    bar.close()
    assert out.getvalue() == "Model\nKSampler\n"


def test_on_a_terminal_one_line_is_redrawn_and_left_clean() -> None:
    out = Terminal()
    bar = ProgressBar(GRAPH, out)
    bar.see("progress", {"node": "2", "value": 4, "max": 4})
    assert " 25% KSampler 4/4" in out.getvalue()
    assert "\n" not in out.getvalue()
    bar.close()
    assert out.getvalue().endswith("\r\x1b[K")


def test_nodes_of_an_expansion_do_not_push_the_bar_past_the_end() -> None:
    bar = ProgressBar(GRAPH, io.StringIO())
    bar.see("progress_state", {"nodes": {id: {"state": "finished"} for id in [*GRAPH, "2.0.0.1", "2.0.0.2"]}})
    assert bar.fraction() == 1.0
