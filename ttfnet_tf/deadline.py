"""Connections whose time to answer is counted as a whole, however slowly the parts of an answer come."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from typing import Any


class DeadlineConnection(http.client.HTTPConnection):
    """An HTTP connection on which everything after `start` must end within its timeout: connecting, sending, headers and body.

    A timeout of Python's own sockets is for each call: a server that sends a byte a second would never reach it.
    """

    sock: Any  # a _Socket, or None before `connect`

    def start(self) -> None:
        """Begins a request: its time counts from now."""
        self.deadline = time.monotonic() + self.timeout
        if self.sock is not None:
            self.sock.deadline = self.deadline

    def connect(self) -> None:
        """Opens the connection, at the first address that takes it."""
        error: OSError = OSError(f"no address of {self.host}")
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            connection = _Socket(family, kind, protocol)
            connection.deadline = self.deadline
            try:
                connection.limit()
                connection.connect(address)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sock = connection
                return
            except OSError as reason:
                connection.close()
                error = reason
        raise error


class SecureDeadlineConnection(DeadlineConnection):
    """The same over TLS; the certificate is checked."""

    default_port = 443

    def connect(self) -> None:
        """Opens the connection and agrees on a key."""
        super().connect()
        plain = self.sock
        context = ssl.create_default_context()
        context.sslsocket_class = _SecureSocket
        try:
            plain.limit()
            self.sock = context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        self.sock.deadline = self.deadline


class _Deadline:
    """Waits until its deadline, a time of `time.monotonic`; beside a socket class."""

    deadline: float

    def limit(self) -> None:
        """Gives the next call the time that is left.

        Raises:
            TimeoutError: there is none.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)  # type: ignore[attr-defined]

    def sendall(self, *arguments) -> None:
        self.limit()
        super().sendall(*arguments)  # type: ignore[misc]

    def recv_into(self, *arguments, **keywords) -> int:
        self.limit()
        return super().recv_into(*arguments, **keywords)  # type: ignore[misc]


class _Socket(_Deadline, socket.socket):
    """Of HTTP."""


class _SecureSocket(_Deadline, ssl.SSLSocket):
    """Of HTTPS."""
