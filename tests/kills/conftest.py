"""One server for the commands of a file."""

import pytest
from kills_sweep import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("kills"))
    yield server
    server.close()
