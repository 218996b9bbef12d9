"""Downloads from a local server that answers like the hub: a redirect that states the checksum, then the file."""

import hashlib
import http.server
import threading

import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.weights import download

CONTENT = b"the weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Hub(http.server.BaseHTTPRequestHandler):
    stated, status, content, cut = f'"{SHA256}"', 302, CONTENT, 0
    asked = ()

    def _answer(self):
        self.asked.append(f"{self.command} {self.path}")
        if self.path == "/storage":
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content[: len(self.content) - self.cut])
            return
        self.send_response(self.status)
        self.send_header("Location", "/storage")
        if self.stated:
            self.send_header("X-Linked-Etag", self.stated)
        self.end_headers()

    do_GET = do_HEAD = _answer

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The handler of the server; its attributes say how it answers."""
    handler = type("Handler", (_Hub,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("TTFNET_TF_CACHE", str(tmp_path / "cache"))
        yield handler
        server.shutdown()
        thread.join()


@pytest.fixture
def messages():
    return []


def _fetch(messages, name="timm/resnet9.x"):
    return download.fetch(name, on_message=messages.append)


def test_the_first_call_downloads_and_later_ones_do_not(hub, messages, tmp_path):
    file = _fetch(messages)
    assert file == tmp_path / "cache" / "timm" / "resnet9.x.safetensors"
    assert file.read_bytes() == CONTENT
    assert file.with_name("resnet9.x.safetensors.sha256").read_text() == f"{SHA256}  resnet9.x.safetensors\n"
    path = "/timm/resnet9.x/resolve/main/model.safetensors"
    assert hub.asked == [f"HEAD {path}", f"GET {path}", "GET /storage"]
    assert len(messages) == 1
    assert messages[0].startswith("timm/resnet9.x: downloading http://127.0.0.1")
    assert _fetch(messages) == file
    assert (len(hub.asked), len(messages)) == (3, 1)
    assert sorted(path.name for path in file.parent.iterdir()) == ["resnet9.x.safetensors", "resnet9.x.safetensors.sha256"]


def test_a_file_that_has_changed_is_refused(hub, messages):
    file = _fetch(messages)
    file.write_bytes(b"other weights")
    with pytest.raises(UserError) as caught:
        _fetch(messages)
    assert str(caught.value) == (
        f"{file}: no longer has the checksum in resnet9.x.safetensors.sha256 beside it; delete both to download it again"
    )


def _refused(messages, tmp_path, **keywords):
    with pytest.raises(UserError) as caught:
        _fetch(messages, **keywords)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_other_content_is_not_kept(hub, messages, tmp_path):
    hub.content = b"other weights"
    found = hashlib.sha256(hub.content).hexdigest()
    assert f"sent a file with the SHA-256 {found}, expected {SHA256}; it was deleted" in _refused(messages, tmp_path)


def test_an_incomplete_download_is_not_kept(hub, messages, tmp_path):
    hub.cut = 100
    assert "timm/resnet9.x: " in _refused(messages, tmp_path)


@pytest.mark.parametrize("stated", ["", '"5d41402abc4b2a76b9719d911017c592"'], ids=["none", "md5"])
def test_without_a_checksum_nothing_is_downloaded(hub, messages, tmp_path, stated):
    hub.stated = stated
    assert "the server states no SHA-256 of" in _refused(messages, tmp_path)
    assert [line.split()[0] for line in hub.asked] == ["HEAD"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_unknown_models_are_named(hub, messages, tmp_path, status):
    hub.status = status
    assert _refused(messages, tmp_path) == (
        f"timm/resnet9.x: is not a model on the hub (HTTP {status}); name one such as timm/resnet18.tv_in1k"
    )


def test_a_failing_server(hub, messages, tmp_path):
    hub.status = 503
    assert "cannot be downloaded (HTTP 503 Service Unavailable); try again later, or name a local file" in _refused(messages, tmp_path)


def test_pinned_files_must_have_the_pinned_checksum(hub, messages, tmp_path):
    known = download.KNOWN["timm/resnet18.tv_in1k"]
    line = _refused(messages, tmp_path, name="timm/resnet18.tv_in1k")
    assert f"expected {known.sha256}; it was deleted" in line
    assert hub.asked[0] == f"GET /timm/resnet18.tv_in1k/resolve/{known.revision}/model.safetensors"


def test_without_network(monkeypatch, messages, tmp_path):
    monkeypatch.setenv("TTFNET_TF_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    for name in ("timm/resnet9.x", "timm/resnet18.tv_in1k"):
        assert _refused(messages, tmp_path, name=name) == (
            f"{name}: cannot be downloaded (Connection refused); without network, name a local .safetensors, .npz or .pth file"
        )


def test_a_cache_that_cannot_be_written(hub, messages, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TTFNET_TF_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        _fetch(messages)


def test_hub_names(tmp_path, monkeypatch):
    sources = ["timm/resnet18.tv_in1k", "timm/", "timm/../x", "timm/a/b", "resnet18", "x/timm/a", "timm/.hidden"]
    assert [download.is_hub_name(source) for source in sources] == [True] + [False] * 6
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "mine.npz").write_bytes(b"")
    assert not download.is_hub_name("timm/mine.npz")


def test_the_environment_names_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("TTFNET_TF_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.cached("timm/a") == tmp_path / ".cache" / "ttfnet_tf" / "timm" / "a.safetensors"
    monkeypatch.setenv("TTFNET_TF_CACHE", "/elsewhere")
    assert str(download.cached("timm/a.b")) == "/elsewhere/timm/a.b.safetensors"
