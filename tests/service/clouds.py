"""Small clouds, and services of them on this machine."""

import shutil
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import uvicorn
from torch import nn

from faceveil.attacks.quantization import Grid
from faceveil.service import wire
from faceveil.service.batching import Model
from faceveil.service.server import Limits, application, configure

TOKEN = "secret"  # noqa: S105 (of a toy)

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl, for a certificate")


class Curved(nn.Module):
    """Noise that depends on the whole face, and on no other."""

    def forward(self, gradients):
        return (gradients * gradients.mean((1, 2, 3), keepdim=True) * 255**2 + 3 * gradients.flip(3)).clamp(
            -8 / 255, 8 / 255
        )


class Gate(nn.Module):
    """Waits until it is opened, and counts how many faces came at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.entered, self.seen = threading.Event(), 0, []

    def forward(self, gradients):
        self.entered += 1
        if self.seen:  # the first run is the service's own
            assert self.open.wait(20)
        self.seen.append(len(gradients))
        return gradients


class Broken(nn.Module):
    """Works once, and never again."""

    def __init__(self, error: Exception, *, used: bool = False) -> None:
        super().__init__()
        self.error, self.used = error, used

    def forward(self, gradients):
        if self.used:
            raise self.error
        self.used = True
        return gradients


def codes(faces=1, values=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, values, (faces, 3, wire.SIDE, wire.SIDE), generator=generator).to(torch.uint8)


def message(faces=1, values=2, seed=0, model="toy", epsilon=8):
    return wire.Message(model, Grid(epsilon, values), codes(faces, values, seed))


def app_of(cloud=None, limits=None, token=None):
    return application(Model("toy", cloud or Curved(), fools=("toy-9", "toy-8")), limits, token)


@contextmanager
def served(app, limits=None, **settings):
    """The address of an application on a free port; it is shut down as on SIGTERM."""
    server = uvicorn.Server(configure(app, limits or Limits(), port=0, **settings))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def address(server):
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


@contextmanager
def answering(*answers, port=0):
    """The address of a server that gives these answers, (status, headers, body), one by one, and what it was asked."""
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.handle_error = lambda *args: None  # a client that has read enough goes away
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def free_port():
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def certificate(folder):
    """One that signs itself, for this machine."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    return cert, key
