"""``studio web`` as a command."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from studio.cli.main import main
from studio.errors import UnavailableError
from studio.webui.logins import Logins

HOUSE = Path(__file__).parents[2]


def test_a_login_is_added_from_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "logins.txt"
    for name, password in (("anna", "first word"), ("ben", "second word"), ("anna", "third word")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
        assert main(["web", "--logins", str(file), "--add-login", name]) == 0
    logins = Logins.read(file)
    assert logins.check("anna", "third word")
    assert logins.check("ben", "second word")
    assert not logins.check("anna", "first word")


@pytest.mark.parametrize(
    ("flags", "typed", "said"),
    [
        (["--add-login", "anna"], "long enough", "--logins FILE"),
        (["--logins", "new.txt", "--add-login", "a:b"], "long enough", "colon"),
        (["--logins", "new.txt", "--add-login", "anna"], "short", "at least 8"),
        (["--logins", "missing.txt"], "", "cannot be read"),
        (["--port", "70000"], "", "port = 70000"),
        (["--queue-size", "0"], "", "queue_size = 0"),
    ],
)
def test_mistakes_are_told_in_one_line(
    flags: list[str],
    typed: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{typed}\n"))
    assert main(["web", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_it_starts_without_torch_and_says_when_the_port_is_taken(tmp_path: Path) -> None:
    script = "import sys\nfrom studio.cli.main import main\ncode = main(sys.argv[1:])\n"
    script += "sys.exit(99 if 'torch' in sys.modules else code)\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = subprocess.run(
            [sys.executable, "-c", script, "web", "--port", port, "--folder", str(tmp_path)],
            cwd=HOUSE,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == UnavailableError.exit_code, ran.stderr
    assert f"Cannot listen at 127.0.0.1:{port}." in ran.stderr
    assert "Traceback" not in ran.stderr
