"""A server that asks for a token: nothing without it, everything with it, from clients and from the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.python.emulsion_client import AsyncClient, Client, Refused
from tests.conftest import start_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home: Path = tmp_path_factory.mktemp("guarded")
    with start_server(home, "--cpu", "--token", "secret") as process:
        yield process.url


async def test_without_the_token_nothing_is_told(guarded: str) -> None:
    for token in ("", "wrong"):
        with Client(guarded, token=token) as client:
            for ask in (client.queue, client.object_info, lambda: client.submit({})):
                with pytest.raises(Refused) as caught:
                    ask()
                assert caught.value.status == 401
        async with AsyncClient(guarded, token=token) as other:
            with pytest.raises(Refused):
                await other.submit({})


def test_with_the_token_the_client_works(guarded: str) -> None:
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    with Client(guarded, token="secret") as client:
        (image,) = client.submit(graph).images(timeout=60)
        assert image.data().startswith(b"\x89PNG")


@pytest.mark.browser
def test_the_page_works_once_opened_with_the_token(page: Any, guarded: str) -> None:
    page.goto(f"{guarded}/?token=secret")
    page.wait_for_selector("html[data-ready]")
    page.wait_for_function("document.getElementById('connection').textContent === 'Connected'")
