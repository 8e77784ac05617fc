from __future__ import annotations

import threading
from pathlib import Path

from backend.base.numbers import Numbers


def test_alone_it_takes_what_is_free(tmp_path: Path) -> None:
    assert [Numbers().take(tmp_path, "a", 4, 3) for _ in range(2)] == [4, 4]


def test_side_by_side_nobody_takes_what_another_has(tmp_path: Path) -> None:
    taken: list[int] = []

    def process() -> None:
        own = Numbers(tmp_path)
        for _ in range(20):
            first = own.take(Path("/out"), "a", 1, 2)
            taken.extend([first, first + 1])

    threads = [threading.Thread(target=process) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == len(taken) == 160


def test_names_and_folders_have_numbers_of_their_own(tmp_path: Path) -> None:
    one, other = Numbers(tmp_path), Numbers(tmp_path)
    assert one.take(Path("/out"), "a", 1, 1) == other.take(Path("/out"), "b", 1, 1) == other.take(Path("/out/sub"), "a", 1, 1) == 1
    assert other.take(Path("/out"), "a", 1, 1) == 2


def test_marks_go_when_the_files_are_there(tmp_path: Path) -> None:
    own = Numbers(tmp_path)
    own.take(Path("/out"), "a", 1, 3)
    own.take(Path("/out"), "a", 4, 1)
    assert len(list(tmp_path.iterdir())) == 1
