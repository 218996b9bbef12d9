"""Which model of which server to send images to."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ttfnet_tf.errors import UserError

PORTS = {"grpc": 8500, "rest": 8501}  # of TensorFlow Serving's Docker image


@dataclass(frozen=True)
class Target:
    """One model of one server; without version and label the server takes its latest version."""

    model: str
    host: str
    port: int
    protocol: str  # grpc | rest
    version: int | None = None
    label: str | None = None
    timeout: float = 60.0  # seconds to wait for an answer

    @property
    def address(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        which = f" version {self.version}" if self.version is not None else f" label {self.label}" if self.label is not None else ""
        return f"{self.model}{which} at {self.address}"


def parse_address(text: str, protocol: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[::1]:port`; the default port is that of the protocol.

    Raises:
        UserError: it is none of these.
    """
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.netloc == text and "@" not in text:
            return parts.hostname, parts.port or PORTS[protocol]
    except ValueError:  # a port that is no number up to 65535
        pass
    raise UserError(f"--address {text}: expected HOST or HOST:PORT, e.g. 127.0.0.1:{PORTS[protocol]}")
