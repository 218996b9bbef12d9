"""Servers on this machine that send what a test says: files, endless answers, streams over HTTP and RTSP."""

import contextlib
import http.server
import io
import socketserver
import struct
import threading
import time

import numpy as np
from PIL import Image


@contextlib.contextmanager
def web(answers, context=None):
    """Serves `answers`, path -> function of the request handler; yields http://127.0.0.1:port.

    Args:
        context: of TLS.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # its name in the standard library
            with contextlib.suppress(OSError):  # the client has gone
                answers[self.path](self)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with _running(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


@contextlib.contextmanager
def _running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def content(data, kind="application/octet-stream", status=200, **headers):
    """An answer of some bytes."""

    def answer(handler):
        handler.send_response(status)
        for name, value in {"Content_Type": kind, "Content_Length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def jpeg(value, size=(64, 96)):
    """A grey JPEG file."""
    file = io.BytesIO()
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def motion_jpeg(images, pause=0.02):
    """A stream of JPEG files, as many network cameras send it; it breaks off at the end."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        for image in images:
            handler.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(image) + image + b"\r\n")
            time.sleep(pause)

    return answer


def drip(handler):
    """An answer that never ends, a few bytes at a time."""
    handler.send_response(200)
    handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    handler.end_headers()
    while True:
        handler.wfile.write(b"xxxxx")
        time.sleep(0.01)


@contextlib.contextmanager
def rtsp(transport_stream):
    """Plays an MPEG transport stream again and again, each packet of 7 x 188 bytes in an RTP packet over TCP; yields the address."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                while line := self.rfile.readline().decode():
                    fields = dict(one.rstrip().split(": ", 1) for one in iter(lambda: self.rfile.readline().decode(), "\r\n"))
                    self.answer(line.split()[0], fields)

        def answer(self, method, fields):
            more, body = "", ""
            if method == "DESCRIBE":
                about = (
                    "v=0",
                    "o=- 0 0 IN IP4 127.0.0.1",
                    "s=x",
                    "c=IN IP4 127.0.0.1",
                    "t=0 0",
                    "m=video 0 RTP/AVP 33",
                    "a=control:trackID=0",
                )
                body = "".join(f"{line}\r\n" for line in about)
                more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            if method == "SETUP":
                more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            if method == "OPTIONS":
                more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {fields['CSeq']}\r\nSession: 1\r\n{more}\r\n{body}".encode())
            if method == "PLAY":
                self.play()

        def play(self):
            number = 0
            while True:
                for start in range(0, len(transport_stream), 7 * 188):
                    header = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, number * 900, 7)
                    packet = header + transport_stream[start : start + 7 * 188]
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                    number += 1
                time.sleep(0.02)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, block_on_close, allow_reuse_address = True, False, True

        def handle_error(self, *_):
            pass

    with _running(Server(("127.0.0.1", 0), Handler)) as server:
        yield f"rtsp://127.0.0.1:{server.server_address[1]}/live"
