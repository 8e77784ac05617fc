from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from backend.base.config import parse, without_secrets
from backend.base.errors import BadFile, MissingFile, Problem, Refused
from backend.base.paths import Folders
from backend.front import guarded, worker_command, worker_environment
from backend.server.access import Accounts, Allowance, Identity, Role, read_users


def users(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return path


def test_tokens_become_users_with_roles(tmp_path: Path) -> None:
    known = {"anna": {"token": "anna-secret", "role": "viewer"}, "ben": {"token_sha256": hashlib.sha256(b"ben-secret").hexdigest()}}
    file = users(tmp_path / "users.json", {"users": known})
    accounts = Accounts.of(parse(["--users-file", str(file), "--token", "the-owner"]), Folders.of(tmp_path))
    assert accounts.users
    assert accounts.find("anna-secret") == Identity("anna", Role.VIEWER)
    assert accounts.find("ben-secret") == Identity("ben", Role.EDITOR)
    assert accounts.find("the-owner") == Identity("admin", Role.ADMIN)
    assert accounts.find("nobody") is None
    assert accounts.find("\udcff") is None


def test_one_token_without_users_is_the_owner(tmp_path: Path) -> None:
    accounts = Accounts.of(parse(["--token", "secret"]), Folders.of(tmp_path))
    assert accounts.find("secret") == Identity(None, Role.ADMIN)
    assert not accounts.users
    assert not Accounts.of(parse([]), Folders.of(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        {"users": {}},
        {"users": []},
        {"users": {"anna": {}}},
        {"users": {"anna": "x"}},
        {"users": {"../x": {"token": "abcdef"}}},
        {"users": {"anna": {"token": "abcdef", "role": "god"}}},
        {"users": {"anna": {"token": "abcdef"}, "ben": {"token": "abcdef"}}},
        {"users": {"anna": {"token_sha256": "zz"}}},
    ],
)
def test_files_of_users_that_are_wrong_are_named(tmp_path: Path, content: Any) -> None:
    with pytest.raises(BadFile) as caught:
        read_users(users(tmp_path / "people.json", content), Folders.of(tmp_path))
    assert "people.json" in str(caught.value)


def test_the_file_must_be_out_of_reach(tmp_path: Path) -> None:
    good = {"users": {"anna": {"token": "abcdef"}}}
    folders = Folders.of(tmp_path)
    folders.create()
    with pytest.raises(Refused):
        read_users(users(tmp_path / "input" / "users.json", good), folders)
    loose = users(tmp_path / "users.json", good)
    loose.chmod(0o666)
    with pytest.raises(Refused):
        read_users(loose, folders)
    with pytest.raises(MissingFile):
        read_users(tmp_path / "nothing.json", folders)


def test_tries_are_bounded_and_come_back_with_time() -> None:
    now = [0.0]
    allowance = Allowance(2, 60.0, lambda: now[0])
    for _ in range(2):
        assert allowance.wait("a") == 0
        allowance.take("a")
    assert allowance.wait("a") == pytest.approx(30)
    assert allowance.wait("b") == 0
    now[0] += 30
    assert allowance.wait("a") == 0


@pytest.mark.parametrize("listen", [["--listen"], ["--listen", "0.0.0.0"], ["--listen", "127.0.0.1,192.168.1.2"], ["--listen", "::"]])
def test_nobody_listens_to_the_network_without_a_token(listen: list[str]) -> None:
    with pytest.raises(Problem, match="--token"):
        guarded(parse(listen), {})
    assert guarded(parse([*listen, "--token", "a-long-enough-token"]), {}).token == "a-long-enough-token"
    assert guarded(parse(listen), {"EMULSION_TOKEN": "from-the-environment"}).token == "from-the-environment"
    assert guarded(parse([*listen, "--users-file", "u.json"]), {}).token is None


def test_a_token_is_made_and_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    made = guarded(parse(["--listen", "--token"]), {}).token
    assert made is not None
    assert len(made) >= 32
    assert capsys.readouterr().err.count(made) == 1
    assert guarded(parse(["--token"]), {}).token != made
    with pytest.raises(Refused):
        guarded(parse(["--token", "abc"]), {})


def test_loopback_needs_none() -> None:
    assert guarded(parse([]), {}).token is None
    assert guarded(parse(["--listen", "127.0.0.1,::1"]), {}).token is None


def test_secrets_stay_in_the_front() -> None:
    line = ["--cpu", "--token", "secret", "--port", "1", "--users-file=u", "--token=other", "--token", "--cpu-vae"]
    assert without_secrets(line) == ["--cpu", "--port", "1", "--cpu-vae"]
    assert "secret" not in worker_command(parse(["--token", "secret"]))
    assert worker_environment(parse([]), {"EMULSION_TOKEN": "secret"}).get("EMULSION_TOKEN") is None
