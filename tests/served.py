"""A server in a process of its own, and one connection to it."""

import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pytest

for package in ("starlette", "uvicorn", "prometheus_client", "soxr"):
    pytest.importorskip(package, reason=f"needs {package}, of requirements-serve.txt")


class Server:
    """`lines`: what it said when it was ready. Each question has a connection of its own."""

    def __init__(self, process: subprocess.Popen[str], lines: list[str], stderr: IO[str]) -> None:
        self.process, self.lines, self._stderr = process, lines, stderr
        self.address = lines[0].split()[0]
        self.port = int(self.address.rpartition(":")[2])
        self._connections: list[http.client.HTTPConnection] = []

    def ask(
        self, method: str, path: str, values: Any = None, headers: dict[str, Any] | None = None
    ) -> http.client.HTTPResponse:
        """Send a request, its values as JSON."""
        body = None if values is None else json.dumps(values).encode()
        return self.ask_raw(method, path, body, {"Content-Type": "application/json", **(headers or {})})

    def ask_raw(self, method: str, path: str, body: bytes | None, headers: dict[str, Any]) -> http.client.HTTPResponse:
        """Send a request as it is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self._connections.append(connection)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def hang_up(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()

    def errors(self) -> str:
        """What it wrote on standard error."""
        self._stderr.seek(0)
        return self._stderr.read()


@contextmanager
def serving(*arguments: Any, token: str = "", lines: int = 1) -> Iterator[Server]:
    """Run `bitjets serve` on a free port until the block ends."""
    command = [sys.executable, "-m", "bitjets_mlx.serve", "--port", "0", *map(str, arguments)]
    environment = {**os.environ, "BITJETS_TOKEN": token}
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment)
        try:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(lines)]
            stderr.seek(0)
            assert all(said), stderr.read()
            server = Server(process, said, stderr)
            yield server
            server.hang_up()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
