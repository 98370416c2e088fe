"""``studio web``: the page and the HTTP doors."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

import platformdirs

from studio.cli.flags import add_machine_flags
from studio.cli.parser import Layout, Namespace, Parser
from studio.cli.quiet import quiet_libraries
from studio.errors import RequestError
from studio.jobs.service import QUEUE_SIZE, Service
from studio.webui.logins import Logins, add_login
from studio.webui.settings import MEGABYTE, Settings

_EXPLANATION = """\
ADDRESS
  Without any flag the studio is at http://127.0.0.1:7860 and only this machine
  reaches it. --host 0.0.0.0 opens it to the network, and is refused without --logins.
  There is no share link.

LOGIN
  studio web --logins logins.txt --add-login anna     asks for a password, once a person
  studio web --logins logins.txt --host 0.0.0.0       everybody named in the file may come in
  Only salted scrypt hashes are kept. The browser asks for name and password (HTTP Basic);
  programs send the same, or the API key name:password (Authorization: Bearer). People see
  their own jobs only. After 10 wrong passwords in a minute an address has to wait.

TLS
  Passwords need TLS as soon as they leave the machine. Let a proxy (Caddy, nginx, Traefik)
  hold the certificate and pass everything on to 127.0.0.1:7860, and name both:
  studio web --logins logins.txt --proxy 127.0.0.1 --public-name draw.example.org
  The proxy must pass on the Host header, and set X-Forwarded-For and X-Forwarded-Proto.

DOORS
  /            the page                    /sdapi/v1/  AUTOMATIC1111's API
  /api/v1/     the studio's own API        /v1/        OpenAI's images API
  /metrics     numbers for Prometheus      /healthz, /readyz
  /api/openapi.json describes them all.

END
  Ctrl-C or SIGTERM finishes the picture in hand (--grace) and ends. Whatever was accepted is
  drawn after the next start, also after a kill.
"""


def configure(parser: Parser) -> None:
    """Adds address, login and limits."""
    parser.usage = "studio web [options]"
    parser.formatter_class = _Layout
    parser.epilog = _EXPLANATION
    address = parser.add_argument_group("address")
    address.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help=_help("127.0.0.1"))
    address.add_argument("--port", type=int, default=7860, metavar="N", help="(default 7860)")
    address.add_argument(
        "--public-name",
        action="append",
        default=[],
        metavar="NAME",
        help="name under which a proxy serves the studio; may be repeated",
    )
    address.add_argument(
        "--proxy", default="", metavar="ADDRESS", help="address of that proxy, seen from here"
    )
    login = parser.add_argument_group("login")
    login.add_argument("--logins", type=Path, metavar="FILE", help="who may come in")
    login.add_argument(
        "--add-login",
        metavar="NAME",
        help="add a name to that file and end; asks for the password, or reads a line",
    )
    work = parser.add_argument_group("work")
    folder = platformdirs.user_data_path("latent-studio") / "web"
    work.add_argument(
        "--folder",
        type=Path,
        default=folder,
        metavar="FOLDER",
        help="keeps jobs and pictures (default: in your data folder)",
    )
    work.add_argument(
        "--queue-size",
        type=int,
        default=QUEUE_SIZE,
        metavar="N",
        help=f"jobs that wait at most (default {QUEUE_SIZE})",
    )
    work.add_argument(
        "--max-upload",
        type=int,
        default=64,
        metavar="MB",
        help="largest body of a request in megabytes (default 64)",
    )
    work.add_argument(
        "--grace",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="how long the picture in hand may take at the end (default 20)",
    )
    work.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="of the JSON lines on standard error (default info)",
    )
    add_machine_flags(parser)


def run(options: Namespace) -> int:
    """Serves until it is told to end."""
    if options.add_login is not None:
        return _add_login(options)
    for name, low, high in (("port", 0, 65535), ("queue_size", 1, 10**6), ("max_upload", 1, 1024)):
        value = getattr(options, name)
        if not low <= value <= high:
            raise RequestError(name, value, "out of range", valid=f"from {low} to {high}")
    quiet_libraries()
    settings = Settings(
        host=options.host,
        port=options.port,
        logins=Logins.read(options.logins) if options.logins else Logins(),
        public_names=tuple(options.public_name),
        proxy=options.proxy,
        max_body_bytes=options.max_upload * MEGABYTE,
        grace_s=options.grace,
    )
    # Gradio's copies of what it shows: not in a folder that all users of the machine share.
    os.environ["GRADIO_TEMP_DIR"] = str(options.folder / "page")
    from studio.webui import observing, server  # uvicorn and FastAPI: not needed for refusals
    from studio.webui.application import create_app

    observing.log_to_stderr(options.log_level)
    service = Service(
        options.folder,
        device=options.device,
        precision=options.precision,
        attention=options.attention,
        memory=options.memory,
        queue_size=options.queue_size,
    )
    print(f"studio: http://{_shown(settings.host)}:{settings.port}", file=sys.stderr, flush=True)
    app = create_app(service, settings)
    return server.serve(app, service, settings, warm=service.default_model)


def _add_login(options: Namespace) -> int:
    if options.logins is None:
        raise RequestError("logins", None, "missing", valid="--logins FILE beside --add-login")
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {options.add_login}: ")
        if getpass.getpass("Again: ") != password:
            raise RequestError("password", "***", "not the same twice", valid="the same twice")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    add_login(options.logins, options.add_login, password)
    print(f"studio: {options.add_login} is in {options.logins}", file=sys.stderr)
    return 0


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _help(default: str) -> str:
    return f"address to listen at (default {default})"


class _Layout(Layout):
    """Keeps the lines of the explanation."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:  # noqa: ARG002 (as the base)
        return text
