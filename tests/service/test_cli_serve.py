import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
import torch
from clouds import TOKEN, codes, free_port

from faceveil.attacks.quantization import Grid
from faceveil.cli import main
from faceveil.methods.apf.cloud import Cloud, load
from faceveil.service.client import Remote
from faceveil.trained import Trained, write


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("module") / "small.safetensors"
    write(Trained(Cloud(width=2).state_dict(), {"width": 2}, {}), path)
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
        noise = Remote(f"http://127.0.0.1:{port}", token=TOKEN, model="small")(gradients)
        process.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in process.stderr]
        assert process.wait(20) in (0, -signal.SIGTERM)
    assert (told["model"], told["epsilon"]) == ("small", 8)
    assert (255 * (noise - load(module)(gradients))).abs().max() <= 0.5 + 1e-3
    assert [line["status"] for line in lines if line["event"] == "request"] == [200]
    assert "Finished server process" in lines[-1]["event"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keyfile", "key.pem"], "needs --certfile"),
        (["--certfile", "missing.pem"], "no file"),
        (["--name", "My Model"], "no model's name"),
        (["--waiting", "3"], "twice"),
    ],
)
def test_says_what_does_not_make_sense(module, words, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", str(module), *words])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
