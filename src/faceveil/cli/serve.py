"""`faceveil serve`: the cloud of the end-cloud method APF."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from faceveil.errors import SettingError

app = typer.Typer()


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="A shipped module, or a file that `faceveil train apf` wrote.")] = "apf",
    *,
    host: Annotated[
        str, typer.Option(help="The address to listen on; :: is every one, 0.0.0.0 of IPv4.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    name: Annotated[
        str | None, typer.Option(help="What clients call the model.", show_default="the file's name")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="FACEVEIL_TOKEN", help="Serve only those who bear it; give it by the variable."),
    ] = None,
    certfile: Annotated[Path | None, typer.Option(help="A certificate, for TLS.", show_default=False)] = None,
    keyfile: Annotated[Path | None, typer.Option(help="Its private key.", show_default=False)] = None,
    faces: Annotated[int, typer.Option(min=16, help="The most faces in a request; clients send 16.")] = 32,
    batch: Annotated[int, typer.Option(min=1, help="The most faces that go through the model together.")] = 8,
    waiting: Annotated[int, typer.Option(min=1, help="The most faces at work or waiting; others hear 503.")] = 256,
    connections: Annotated[int, typer.Option(min=1, help="The most open connections; others hear 503.")] = 256,
    seconds: Annotated[float, typer.Option(help="For a head to come, a body, an answer to be made, and to go.")] = 30.0,
    threads: Annotated[int | None, typer.Option(min=1, help="PyTorch's threads.", show_default="its own")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Serve a trained module of APF: gradients of few bits in, noise out; no photo comes, and nothing is stored.

    Logs are lines of JSON on standard error, without contents or clients' addresses. SIGTERM finishes what has begun.
    The wire format, and how to deploy it, are in docs/service.md. Needs `pip install ".[serve]"` in a clone.

    Examples:

        faceveil serve

        FACEVEIL_TOKEN=... faceveil serve --host 0.0.0.0 --certfile cert.pem --keyfile key.pem
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # also while it starts, and as a container's first process

    import torch

    from faceveil import trained
    from faceveil.device import choose
    from faceveil.methods.apf.cloud import load
    from faceveil.service.wire import NAME, SIDE, TOKEN

    try:
        from faceveil.service import journal
        from faceveil.service.batching import Model
        from faceveil.service.client import LOOPBACK
        from faceveil.service.server import Limits, application, run
    except ModuleNotFoundError as error:
        raise SettingError(
            f'{error.name} is not installed; run in a clone of faceveil: pip install ".[serve]"'
        ) from error
    if "" in (token, os.environ.get("FACEVEIL_TOKEN")):
        raise SettingError("the token is empty; fill FACEVEIL_TOKEN, or unset it to serve everybody")
    if token and not TOKEN.fullmatch(token):
        raise SettingError("the token has spaces or letters that no header bears; give another")
    if keyfile and not certfile:
        raise SettingError("--keyfile needs --certfile")
    for path in filter(None, (certfile, keyfile)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise SettingError(
                f"{path} cannot be read ({error.strerror}); give the certificate and its key in PEM"
            ) from error
    if threads:
        torch.set_num_threads(threads)
    limits = Limits(faces, batch, waiting, connections, seconds)
    called = name or Path(model).stem
    if not NAME.fullmatch(called.encode()):
        raise SettingError(f"{called!r} is no model's name; give --name, 1 to 32 of a-z, 0-9, '.', '_' and '-'")
    place = choose(device)
    cloud, fools = load(model, place), trained.read(model).servers
    served = Model(called, cloud, cloud.epsilon, place, fools)
    if cloud.enhancement is not None and cloud.universal.shape[1:] != (SIDE, SIDE):
        raise SettingError(f"{model} is no module for faces of {SIDE} x {SIDE} pixels; train one on such")
    journal.start()
    if not token and host not in LOOPBACK:
        journal.note(logging.WARNING, "everybody who reaches this address is served; set FACEVEIL_TOKEN")
    run(application(served, limits, token), limits, host, port, certfile, keyfile)
