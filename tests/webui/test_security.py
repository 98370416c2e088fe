"""The secure defaults. Each test fails when its guard is taken out."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from studio.cli.main import main
from studio.errors import RequestError
from studio.webui import logins
from studio.webui.logins import Logins, Throttle, add_login, hashed, matches
from studio.webui.settings import Settings
from tests.webui.conftest import Connect

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def anna() -> Logins:
    return Logins({"anna": hashed(PASSWORD), "ben": hashed("battery staple")})


def png(image: Image.Image, **texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def upload(client: TestClient, data: bytes, name: str = "a.png") -> Any:
    return client.post("/api/v1/inputs", files={"file": (name, data)})


# Address and login


def test_the_usual_address_is_this_machine_alone() -> None:
    assert Settings().host == "127.0.0.1"


@pytest.mark.parametrize(
    "opened",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"host": "192.168.0.7"},
        {"host": "draw.example.org"},
        {"public_names": ("draw.example.org",)},
        {"proxy": "127.0.0.1"},
    ],
)
def test_nothing_is_opened_to_others_without_a_login(opened: Any, anna: Logins) -> None:
    with pytest.raises(RequestError, match="without a login"):
        Settings(**opened)
    assert Settings(**opened, logins=anna)


def test_the_command_refuses_an_open_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["web", "--host", "0.0.0.0"]) == 2
    assert "without a login" in capsys.readouterr().err


def test_there_is_no_share_link(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["web", "--share"])
    assert "unknown flag --share" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", ["/api/v1/jobs", "/v1/models", "/sdapi/v1/options", "/metrics", "/api/openapi.json"]
)
def test_everything_asks_for_the_login(connect: Connect, anna: Logins, path: str) -> None:
    client = connect(Settings(logins=anna))
    refused = client.get(path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert client.get(path, auth=("anna", "wrong horse")).status_code == 401
    assert client.get(path, auth=("nobody", PASSWORD)).status_code == 401
    assert client.get(path, auth=("anna", PASSWORD)).status_code == 200
    bearer = {"Authorization": f"Bearer anna:{PASSWORD}"}
    assert client.get(path, headers=bearer).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_people_see_their_own_jobs_only(connect: Connect, anna: Logins) -> None:
    client = connect(Settings(logins=anna))
    mine, other = ("anna", PASSWORD), ("ben", "battery staple")
    id = client.post("/api/v1/jobs", json={"prompt": "a secret"}, auth=mine).json()["id"]
    with client.stream("GET", f"/api/v1/jobs/{id}/events", auth=mine) as events:
        events.read()
    for path in ("", "/events", "/preview", "/pictures/0"):
        assert client.get(f"/api/v1/jobs/{id}{path}", auth=other).status_code == 404
    assert client.delete(f"/api/v1/jobs/{id}", auth=other).status_code == 404
    assert client.get("/api/v1/jobs", auth=other).json() == {"jobs": []}
    assert client.get(f"/api/v1/jobs/{id}/pictures/0", auth=mine).status_code == 200


def test_guessing_is_slowed_down(connect: Connect, anna: Logins, monkeypatch: Any) -> None:
    monkeypatch.setattr(logins, "FAILURES", 3)
    monkeypatch.setattr(logins, "matches", lambda *_: False)
    client = connect(Settings(logins=anna))
    codes = [
        client.get("/v1/models", auth=("anna", f"guess {i}")).status_code
        for i in range(logins.FAILURES + 1)
    ]
    assert codes == [401, 401, 401, 429]
    waiting = client.get("/v1/models", auth=("anna", "guess again"))
    assert waiting.status_code == 429
    assert 0 < int(waiting.headers["retry-after"]) <= logins.WINDOW_S


def test_another_address_need_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "FAILURES", 2)
    throttle = Throttle()
    for _ in range(2):
        throttle.failed("10.0.0.1")
    assert throttle.wait_s("10.0.0.1") > 0
    assert throttle.wait_s("10.0.0.2") == 0


def test_passwords_are_kept_as_salted_hashes(tmp_path: Path) -> None:
    file = tmp_path / "logins.txt"
    add_login(file, "anna", PASSWORD)
    add_login(file, "ben", PASSWORD)
    text = file.read_text(encoding="utf-8")
    assert PASSWORD not in text
    first, second = (line.partition(":")[2] for line in text.splitlines())
    assert first.startswith("scrypt$")
    assert first != second
    assert matches(PASSWORD, first)
    assert not matches("wrong horse", first)
    assert Logins.read(file).check("anna", PASSWORD)
    if os.name != "nt":
        assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "anna", "anna:secret", "anna:scrypt$1$2"])
def test_a_broken_file_of_logins_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "logins.txt").write_text(text, encoding="utf-8")
    with pytest.raises(RequestError, match="logins"):
        Logins.read(tmp_path / "logins.txt")


# Origin and Host


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "https://127.0.0.1.evil.example",
        "http://127.0.0.1:3000",
        "http://localhost:7860",
        "file://127.0.0.1:7860",
        "",
    ],
)
def test_a_foreign_origin_is_refused(connect: Connect, origin: str) -> None:
    client = connect()
    for path in ("/api/v1/jobs", "/sdapi/v1/interrupt", "/v1/images/generations", "/healthz"):
        assert client.post(path, headers={"Origin": origin}).status_code == 403
    assert client.get("/api/v1/jobs", headers={"Origin": origin}).status_code == 403


def test_our_own_origin_is_welcome(connect: Connect) -> None:
    client = connect()
    assert client.get("/api/v1/jobs", headers={"Origin": "http://127.0.0.1:7860"}).is_success


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.7", "a:b:c"])
def test_a_foreign_host_is_refused(connect: Connect, host: str) -> None:
    client = connect()
    assert client.get("/healthz", headers={"Host": host}).status_code == 403
    same = {"Host": host, "Origin": f"http://{host}"}
    assert client.get("/healthz", headers=same).status_code == 403


def test_websockets_are_guarded_too(connect: Connect, anna: Logins) -> None:
    client = connect(Settings(logins=anna))
    for headers in ({"Origin": "null"}, {"Host": "evil.example"}, {}):
        with (
            pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)),
            client.websocket_connect("/anything", headers=headers),
        ):
            pass


def test_a_public_name_is_known(connect: Connect, anna: Logins) -> None:
    client = connect(Settings(logins=anna, public_names=("draw.example.org",), proxy="127.0.0.1"))
    there = {"Host": "draw.example.org", "Origin": "https://draw.example.org"}
    assert client.get("/healthz", headers=there).is_success
    rewritten = {"Host": "127.0.0.1:7860", "Origin": "https://draw.example.org"}
    assert client.get("/healthz", headers=rewritten).is_success
    assert client.get("/healthz", headers={"Host": "www.example.org"}).status_code == 403


def test_every_address_is_known_by_number_only(anna: Logins) -> None:
    settings = Settings(host="0.0.0.0", logins=anna)
    assert settings.knows("192.168.0.7")
    assert settings.knows("localhost")
    assert not settings.knows("evil.example")


def test_answers_cannot_be_framed_or_sniffed(connect: Connect) -> None:
    headers = connect().get("/healthz").headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


# Uploads


def test_a_body_over_the_limit_is_refused(connect: Connect) -> None:
    client = connect(Settings(max_body_bytes=10_000))
    assert upload(client, bytes(20_000)).status_code == 413

    def pieces() -> Iterator[bytes]:  # without a Content-Length
        for _ in range(20):
            yield bytes(1_000)

    for path in ("/api/v1/jobs", "/api/v1/inputs", "/v1/images/edits", "/sdapi/v1/txt2img"):
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        assert client.post(path, content=pieces(), headers=form).status_code == 413


def test_a_decompression_bomb_is_refused_before_it_is_decoded(connect: Connect) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    client = connect()
    text = base64.b64encode(bomb).decode()
    answers = [
        upload(client, bomb),
        client.post("/api/v1/png-info", files={"file": ("a.png", bomb)}),
        client.post("/sdapi/v1/png-info", json={"image": text}),
        client.post("/sdapi/v1/extra-single-image", json={"image": text}),
        client.post("/sdapi/v1/img2img", json={"prompt": "x", "init_images": [text]}),
        client.post("/v1/images/edits", data={"prompt": "x"}, files={"image": ("a.png", bomb)}),
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 422, 422, 400]
    for answer in answers:
        assert "60000 x 60000 pixels" in answer.text


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<html><script>alert(1)</script></html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"%PDF-1.7\n",
        b"GIF89a",
        b"",
        b"\x89PNG\r\n\x1a\nbroken",
    ],
)
def test_only_pictures_are_taken_whatever_they_are_called(connect: Connect, data: bytes) -> None:
    answer = upload(connect(), data, "innocent.png")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "file"
    assert "/tmp" not in answer.text


def test_uploads_are_kept_re_encoded_under_names_of_ours(connect: Connect, tmp_path: Path) -> None:
    client = connect()
    data = png(Image.new("RGB", (64, 64), "red"), secret="position of my house") + b"<script>"
    reference = upload(client, data, "../../../evil.png").json()["reference"]
    kept = list((tmp_path / "inputs").iterdir())
    assert [path.name for path in kept] == [f"{reference.removeprefix('sha256:')}.png"]
    assert b"house" not in kept[0].read_bytes()
    assert b"<script>" not in kept[0].read_bytes()
    assert not list(tmp_path.rglob("evil*"))


def test_addresses_are_never_fetched(connect: Connect) -> None:
    address = "http://127.0.0.1:1/picture.png"
    answer = connect().post("/sdapi/v1/png-info", json={"image": address})
    assert answer.status_code == 422
    assert "not base64" in answer.text


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/jobs/../../../etc/passwd",
        "/api/v1/jobs/..%2F..%2F..%2Fetc%2Fpasswd",
        "/api/v1/jobs/%2e%2e%2f%2e%2e%2fjobs.db/pictures/0",
        "/api/v1/jobs/x/pictures/..%2F..%2Fjobs.db",
        "/api/v1/jobs/x/pictures/-1",
        "/etc/passwd",
        "//etc/passwd",
    ],
)
def test_no_path_leads_out(connect: Connect, path: str) -> None:
    answer = connect().get(path)
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    ("field", "value"),
    [("init_image", "/etc/passwd"), ("init_image", "jobs.db"), ("model", "/tmp"), ("model", "..")],
)
def test_no_request_names_a_file(connect: Connect, field: str, value: str) -> None:
    answer = connect().post("/api/v1/jobs", json={"prompt": "a cat", field: value})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field


# Metadata, limits, errors


def test_metadata_is_given_as_text(connect: Connect) -> None:
    client = connect()
    script = "<script>alert(1)</script>"
    line = f"{script}\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64"
    data = png(Image.new("RGB", (8, 8)), parameters=line)
    answer = client.post("/api/v1/png-info", files={"file": ("a.png", data)})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["request"]["prompt"] == script


def test_a_full_queue_is_told_with_the_time_to_wait(connect: Connect) -> None:
    client = connect(queue_size=1, start=False)
    assert client.post("/api/v1/jobs", json={"prompt": "one"}).status_code == 202
    full = client.post("/api/v1/jobs", json={"prompt": "two"})
    assert full.status_code == 429
    assert int(full.headers["retry-after"]) > 0


_BODIES = [
    b"",
    b"[]",
    b"null",
    b"{",
    b'{"prompt": "\xff"}',
    b'{"prompt": "x", "%(count)s": 1e400}',
    b'{"prompt": "x", "%(count)s": NaN}',
    b'{"prompt": "x", "%(count)s": -5}',
    b'{"prompt": "' + b"x" * 1_000_000 + b'"}',
]


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/api/v1/jobs", b"steps"),
        ("/v1/images/generations", b"n"),
        ("/sdapi/v1/txt2img", b"steps"),
    ],
)
def test_bad_bodies_are_refused_in_words(connect: Connect, path: str, count: bytes) -> None:
    client = connect(start=False)
    for body in _BODIES:
        content = body.replace(b"%(count)s", count)
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), content[:80]
        assert answer.headers["content-type"] == "application/json"
        assert "Traceback" not in answer.text
