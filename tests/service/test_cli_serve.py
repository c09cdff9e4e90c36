import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
from clouds import TOKEN, Broken, Gate, address, app_of, certificate, codes, free_port, needs_openssl, served
from PIL import Image

from faceveil import batch
from faceveil.attacks.quantization import Grid
from faceveil.cli import main
from faceveil.errors import ServiceError
from faceveil.methods.apf.cloud import Cloud, load
from faceveil.service import client as clients
from faceveil.service import journal, server
from faceveil.service.batching import Model
from faceveil.service.client import CloudAway, Remote
from faceveil.service.server import Limits, application
from faceveil.trained import Trained, write
from people import portrait


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("module") / "small.safetensors"
    write(Trained(Cloud(width=2).state_dict(), {"width": 2}, {"servers": ["toy-9"]}), path)
    return path


def ready(url, process):
    for _ in range(600):
        assert process.poll() is None, process.stderr.read()
        try:
            with urllib.request.urlopen(f"{url}/ready") as answer:  # noqa: S310
                return json.load(answer)
        except OSError:
            time.sleep(0.05)
    raise TimeoutError


def test_serves_until_it_is_told_to_stop(module):
    port = free_port()
    command = [sys.executable, "-m", "faceveil", "serve", str(module), "--port", str(port), "--threads", "1"]
    gradients = Grid(8, 2).noise(codes(2))
    environment = os.environ | {"FACEVEIL_TOKEN": TOKEN}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        told = ready(f"http://127.0.0.1:{port}", process)
        client = Remote(f"http://127.0.0.1:{port}", token=TOKEN, model="small")
        noise = client(gradients)
        process.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in process.stderr]
        assert process.wait(20) == 0
    assert (told["model"], told["epsilon"], client.fools) == ("small", 8, ("toy-9",))
    assert (255 * (noise - load(module)(gradients))).abs().max() <= 0.5 + 1e-3
    assert [line["status"] for line in lines if line["event"] == "request"] == [200]
    assert "Finished server process" in lines[-1]["event"]
    assert not [line for line in lines if "127.0.0.1" in line["event"]]  # nor any client's address


def test_says_where_it_serves(module):
    """The port is known from nowhere else where a free one was taken."""
    command = [sys.executable, "-m", "faceveil", "serve", str(module), "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = map(json.loads, process.stderr)
        url = next(line["url"] for line in lines if line["event"] == "serving")
        told = ready(url, process)
        process.send_signal(signal.SIGTERM)
        assert len(list(lines)) > 0
    assert told["model"] == "small"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keyfile", "key.pem"], "needs --certfile"),
        (["--certfile", "missing.pem"], "missing.pem cannot be read (No such file"),
        (["--certfile", "/"], "cannot be read (Is a directory"),
        (["--faces", "8"], "16"),
        (["--name", "My Model"], "no model's name"),
        (["--waiting", "3"], "twice"),
        (["--token", ""], "the token is empty"),
        (["--token", "two words"], "no header bears"),
        (["--token", "pässwort"], "no header bears"),
    ],
)
def test_says_what_does_not_make_sense(module, words, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", str(module), *words])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_says_before_it_serves_that_a_module_is_for_other_faces(tmp_path, capsys):
    path, cloud = tmp_path / "large.safetensors", Cloud(width=2, size=(160, 160))
    write(Trained(cloud.state_dict(), {"width": 2, "size": [160, 160]}, {"servers": []}), path)
    with pytest.raises(SystemExit):
        main(["serve", str(path), "--port", "0"])
    assert "is no module for faces of 112 x 112 pixels" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "warned"), [([], True), (["--token", TOKEN], False), (["--host", "::1"], False)])
def test_warns_who_serves_everybody(module, words, warned, monkeypatch, caplog):
    monkeypatch.setattr(server, "run", lambda *given: None)
    monkeypatch.setattr(journal, "start", lambda: None)
    with suppress(SystemExit):
        main(["serve", str(module), "--host", "0.0.0.0", *words])  # noqa: S104
    assert ("everybody" in caplog.text) == warned


def test_an_empty_token_is_not_taken_for_none(module, monkeypatch, capsys):
    monkeypatch.setenv("FACEVEIL_TOKEN", "")
    with pytest.raises(SystemExit):
        main(["serve", str(module)])
    assert "the token is empty" in capsys.readouterr().err


def test_protects_with_a_cloud_and_with_a_warning_without(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FACEVEIL_TOKEN", TOKEN)
    photo = tmp_path / "me.png"
    Image.fromarray(portrait()).save(photo)
    own = ["--surrogate", "dlib", "--judge", "dlib", "--set", "steps=1", "--epsilon", "4", "--json", "--force"]
    gate = Gate()
    gate.open.set()

    def protect(url):
        with warnings.catch_warnings(), suppress(SystemExit):
            warnings.simplefilter("always", CloudAway)
            main(["protect", str(photo), "--method", "apf", *own, "--server", url])
        told = capsys.readouterr()
        (report,) = json.loads(told.out)["photos"]
        assert report["status"] == "cloaked"
        return told.err, report["notes"], (tmp_path / "me-cloaked.png").read_bytes()

    with served(application(Model("apf", gate), token=TOKEN)) as server:
        url = address(server)
        with_cloud = protect(url)
    monkeypatch.setattr(clients, "Remote", partial(Remote, seconds=0.2))
    without = protect(url)
    assert gate.seen == [1, 1, 1]  # its own, the greeting, and the face
    assert with_cloud[:2] == ("", [])
    assert without[0].startswith(f"faceveil: warning: {url}: cannot be reached")
    assert without[1] == ["cloaked without the cloud, which is weaker; --force makes it anew"]
    assert with_cloud[2] != without[2]


def test_a_wrong_token_is_told_once_before_any_photo_is_read(tmp_path, capsys):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("no photo")
    with served(application(Model("apf", Gate()), token=TOKEN)) as server, pytest.raises(SystemExit):
        main(["protect", str(tmp_path), "-o", str(tmp_path / "out"), "--method", "apf", "--server", address(server)])
    assert capsys.readouterr().err.count("\n") == 1


def test_asks_a_server_for_its_own_model_within_the_epsilon_that_is_set(tmp_path, capsys, monkeypatch):
    """The noise is scaled, not cut off, and whom the server's module learned to fool was attacked, too."""
    photo, methods, real = tmp_path / "me.png", [], batch.protect_files
    Image.fromarray(portrait()).save(photo)
    monkeypatch.setattr(batch, "protect_files", lambda *given: methods.append(given[0].method) or real(*given))
    own = ["--surrogate", "dlib", "--judge", "dlib", "--set", "steps=1", "--set", "model=mine", "--json", "--force"]

    def changed(*words):
        with suppress(SystemExit):
            main(["protect", str(photo), "--method", "apf", *own, *words, "--server", address(server)])
        told = capsys.readouterr()
        assert (json.loads(told.out)["counts"]["cloaked"], told.err) == (1, "")
        cloaked = np.asarray(Image.open(tmp_path / "me-cloaked.png")).astype(int)
        return np.abs(cloaked - portrait()).max()

    with served(application(Model("mine", lambda gradients: gradients / 2, fools=("toy-9",)))) as server:
        assert changed("--set", "epsilon=4") == changed("--epsilon", "4") == 2
    assert [set(method.attacked) for method in methods] == 2 * [{"dlib", "toy-9"}]


def test_only_apf_has_a_cloud(tmp_path, capsys):
    photo = tmp_path / "me.png"
    photo.touch()
    with pytest.raises(SystemExit):
        main(["protect", str(photo), "--server", "http://localhost:1"])
    assert "for --method apf" in capsys.readouterr().err


def test_is_stopped_while_it_starts(module, monkeypatch):
    """Also as a container's first process, to whom a signal without a handler does nothing."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(server, "run", lambda *given: signal.raise_signal(signal.SIGTERM))
    try:
        with pytest.raises(SystemExit) as caught:
            main(["serve", str(module)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not caught.value.code


@needs_openssl
def test_a_key_that_needs_a_pass_phrase_is_called_that(tmp_path):
    cert, key = certificate(tmp_path)
    locked = tmp_path / "locked.pem"
    words = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", key, "-out", locked]
    subprocess.run(words, check=True, capture_output=True)
    with pytest.raises(ServiceError, match=r"certificate or its key cannot be used \(.+\); .* without a pass phrase"):
        server.run(app_of(), Limits(), "127.0.0.1", 0, cert, locked)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6 and IPv4 on one socket")
def test_two_colons_are_every_address(monkeypatch):
    doors = []
    monkeypatch.setattr(server.Server, "run", lambda self, sockets: doors.extend(own.dup() for own in sockets))
    server.run(app_of(), Limits(), "::", 0)
    with doors[0] as door:
        assert not door.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_says_of_what_kind_the_error_is_if_the_model_fails_at_the_start(caplog):
    async def start():
        app = app_of(Broken(torch.OutOfMemoryError("no room"), used=True))
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(torch.OutOfMemoryError):
        asyncio.run(start())
    (record,) = caplog.records
    assert (record.message, record.facts) == ("the model failed", {"error": "OutOfMemoryError"})
