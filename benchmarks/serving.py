"""A server in a process of its own, for the measurements beside this file."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryFile

from faceveil.service import wire


@dataclass(frozen=True)
class Server:
    port: int
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def ask(self, body: bytes) -> tuple[int, int]:
        """The status and the size of the answer, on a connection of its own, as clients have."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", "/v1/noise", body, {"Content-Type": wire.MEDIA_TYPE})
            answer = connection.getresponse()
            return answer.status, len(answer.read())

    def memory(self) -> float:
        """In MB."""
        lines = self.get("/metrics")[1].splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes")) / 1e6


@contextmanager
def server(model: str, *words: str) -> Iterator[Server]:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "faceveil", "serve", model, "--name", "bench", "--port", str(port), *words]
    with TemporaryFile() as log, subprocess.Popen(command, stderr=log, env=os.environ) as process:
        here = Server(port, Path(f"/proc/self/fd/{log.fileno()}"))
        while True:
            try:
                json.loads(here.get("/ready")[1])
                break
            except ConnectionError:
                if process.poll() is not None:
                    sys.exit(here.log.read_text())
                time.sleep(0.1)
        try:
            yield here
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
