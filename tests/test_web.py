"""Files at addresses: what a server may do, and what a command says."""

import itertools
import shutil
import socket
import ssl
import subprocess

import loopback
import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.web import fetch, is_stream, is_web, name_of, without_password


def _endless(handler):
    """More bytes than any limit, without saying how many."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def _protected(handler):
    allowed = handler.headers["Authorization"] == "Basic bWU6c2VjcmV0"  # me:secret
    loopback.content(b"in" if allowed else b"", status=200 if allowed else 401)(handler)


def _redirect(place):
    return loopback.content(b"", status=302, Location=place)


ANSWERS = {
    "/a.jpg": loopback.content(b"abc", "image/jpeg"),
    "/a%20b.jpg?x=1&y=2": loopback.content(b"with a query"),
    "/long": loopback.content(bytes(101)),
    "/endless": _endless,
    "/drip": loopback.drip,
    "/none": loopback.content(b"", status=404),
    "/short": loopback.content(b"abc", Content_Length="9"),
    "/protected": _protected,
    "/away": _redirect("/a.jpg"),
    "/in": _redirect("protected"),
    "/circle": _redirect("/circle"),
    "/file": _redirect("file:///etc/passwd"),
    "/garbage": lambda handler: handler.wfile.write(b"\xff\xfe no HTTP\r\n\r\n"),
}


@pytest.fixture(scope="module")
def base():
    with loopback.web(ANSWERS) as address:
        yield address


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a.jpg", (b"abc", "image/jpeg")),
        ("/a b.jpg?x=1&y=2", (b"with a query", "application/octet-stream")),
        ("/away", (b"abc", "image/jpeg")),
    ],
)
def test_a_file_is_fetched(base, path, expected):
    assert fetch(base + path, max_bytes=100) == expected


def test_a_name_and_a_password_reach_their_server_only(base):
    for path in ("/protected", "/in"):
        assert fetch(base.replace("//", "//me:secret@") + path, max_bytes=100)[0] == b"in"
    with loopback.web({"/": _redirect(f"{base}/protected")}) as other, pytest.raises(UserError, match="HTTP 401"):
        fetch(other.replace("//", "//me:secret@") + "/", max_bytes=100)


@pytest.mark.parametrize("path", ["/endless", "/drip"])
def test_its_beginning_is_enough(base, path):
    assert len(fetch(base + path, max_bytes=100, only=20)[0]) == 20


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/long", "sends more than 100 bytes, which is the limit"),
        ("/endless", "sends more than 100 bytes, which is the limit"),
        ("/none", "cannot be fetched (HTTP 404 Not Found)"),
        ("/short", "is cut short, 3 of 9 bytes came"),
        ("/circle", "cannot be fetched (more than 5 redirects)"),
        ("/file", "is redirected to file:///etc/passwd, which is not followed"),
        ("/garbage", "cannot be fetched (BadStatusLine"),
    ],
)
def test_an_answer_that_is_no_file(base, path, line):
    with pytest.raises(UserError) as caught:
        fetch(base + path, max_bytes=100)
    assert str(caught.value).startswith(f"{base}{path}: {line}")


def test_a_server_that_sends_a_byte_at_a_time_is_left(base):
    """Each byte comes soon, so a timeout for each read would never end."""
    with pytest.raises(UserError, match=r"/drip: has not answered in full within 0\.3 seconds"):
        fetch(f"{base}/drip", max_bytes=10**6, seconds=0.3)


def test_redirects_share_the_time(base, monkeypatch):
    """Of a clock that goes on by 4 seconds at each look, 10 seconds end in the third answer."""
    clock = itertools.count(step=4)
    monkeypatch.setattr("ttfnet_tf.web.time.monotonic", lambda: float(next(clock)))
    with pytest.raises(UserError, match="within 10 seconds"):
        fetch(f"{base}/circle", max_bytes=100, seconds=10.0)


def test_no_server(base):
    with loopback.web({}) as gone:
        pass
    with pytest.raises(UserError, match=r"cannot be fetched \(Connection refused\)"):
        fetch(f"{gone}/a.jpg", max_bytes=100)


@pytest.mark.parametrize("address", ["http://", "http://:80/a.jpg", "http://host:port/a.jpg", "https://[::1/a.jpg"])
def test_no_address(address):
    with pytest.raises(UserError, match=r"is not an address; expected such as https://host/image\.jpg"):
        fetch(address, max_bytes=100)


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate")
def test_certificates_are_checked(tmp_path, monkeypatch):
    pair = ("-keyout", "key.pem", "-out", "cert.pem")
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *pair, *name], cwd=tmp_path, check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with loopback.web({**ANSWERS, "/plain": _redirect("http://localhost:1/a")}, context) as base:
        base = base.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(UserError, match="certificate verify failed"):
            fetch(f"{base}/a.jpg", max_bytes=100)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert fetch(f"{base}/a.jpg", max_bytes=100)[0] == b"abc"
        with pytest.raises(UserError, match="within 1 seconds"):
            fetch(f"{base}/drip", max_bytes=10**6, seconds=1.0)
        with pytest.raises(UserError, match="which is not followed"):
            fetch(f"{base}/plain", max_bytes=100)


def test_a_server_that_never_begins_to_speak_tls():
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError, match=r"within 0\.3 seconds"):
        fetch(f"https://127.0.0.1:{silent.getsockname()[1]}/a", max_bytes=100, seconds=0.3)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:secret@cam/live", "rtsp://me:***@cam/live"),
        ("https://me:s:e@host/a@b:c", "https://me:***@host/a@b:c"),
        ("https://host:80/a", "https://host:80/a"),
        ("/folder/a:b@c.jpg", "/folder/a:b@c.jpg"),
    ],
)
def test_passwords_are_not_shown(address, shown):
    assert without_password(address) == shown


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://host/x/a.jpg?b=1#c", "a.jpg"),
        ("https://host/a%2Fb%00.jpg", "b_.jpg"),
        ("https://host:80/", "host"),
        ("https://host/..", "image"),
    ],
)
def test_names_of_files_at_addresses(address, name):
    assert name_of(address) == name


def test_kinds_of_addresses():
    assert is_web("HTTPS://host/a")
    assert not is_web("s3://bucket/a")
    assert not is_web("http:/a")
    assert is_stream("RTSP://cam")
    assert not is_stream("cam")
