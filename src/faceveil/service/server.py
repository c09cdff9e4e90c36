"""The cloud: an ASGI application that answers gradients with noise. Nothing that arrives is stored or logged."""

import asyncio
import hmac
import logging
import math
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from faceveil.attacks.quantization import Grid
from faceveil.errors import ServiceError, SettingError
from faceveil.service import journal, wire
from faceveil.service.batching import Batcher, Model
from faceveil.service.metrics import CONTENT_TYPE_LATEST, Metrics
from faceveil.service.openapi import describe

PIECE = 2**16  # bytes of an answer handed on at a time, so that a slow reader holds no more
STAGES = 4  # of a connection, each of which may take so many seconds: head, body, work, answer
BACKLOG = 64  # connections that wait to be accepted; asyncio complains as often where it has no descriptor for one
HANDSHAKE = 10.0  # seconds that TLS may take before them
CROWDED = "crowded"  # what a connection is that came when enough were open
GONE = 499  # what logs and metrics call a request whose client went away
GRADIENTS = Grid(1, wire.ASKED)  # the finest that are taken
NOISE = Grid(wire.LARGEST, 2 * wire.LARGEST + 1)  # the finest that is given

Guard = Callable[[Request], None]  # raises `HTTPException` for a request without the token


@dataclass(frozen=True)
class Limits:
    """What a server takes on.

    `faces` in a request, `batch` of them together through the model, and `seconds` each for the head to come, the body
    to come, the answer to be made, and the answer to go. As many as `waiting` faces of one bit (one of two counts
    twice) are at work or wait, as many as `connections` are open; others are told to come again after `again` seconds,
    and of connections that are more than twice as many, nothing is read.
    """

    faces: int = 32
    batch: int = 8
    waiting: int = 256
    connections: int = 256
    seconds: float = 30.0
    again: int = 1

    def __post_init__(self) -> None:
        wrong = [name for name, value in vars(self).items() if not 0 < value < math.inf]
        if wrong:
            raise SettingError(f"{wrong[0]} is {vars(self)[wrong[0]]:g}; give a number greater than 0")
        if self.waiting < 2 * self.faces:
            raise SettingError(f"only {self.waiting} faces may wait; let {2 * self.faces}, twice those in a request")

    @property
    def body(self) -> int:
        """The most bytes of a request."""
        return wire.size(self.faces, GRADIENTS)

    @property
    def answer(self) -> int:
        """The most bytes of an answer."""
        return wire.size(self.faces, NOISE)


class Noise:
    """The endpoint: one message of gradients in, one of noise out."""

    def __init__(self, batcher: Batcher, limits: Limits, guard: Guard, metrics: Metrics) -> None:
        self.batcher, self.limits, self.guard, self.metrics = batcher, limits, guard, metrics
        self.room = limits.waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, start = Request(scope, receive), time.perf_counter()
        status, faces = 500, 0
        try:
            length = await self._admitted(request)
            body = await self._body(request, length)
            with self._held(max(1, (length - wire.HEADER) * 8 // wire.CODES)):
                message = self._read(body)
                answer = await self._answer(message, receive)
                status = GONE  # to whom it does not get whole
                async with asyncio.timeout(self.limits.seconds):
                    await _send(bytes(answer), self.batcher.model.fools, send)
            status, faces = 200, len(message.codes)
        except HTTPException as refusal:
            status = refusal.status_code
            raise
        except (ClientDisconnect, TimeoutError):
            status = GONE  # nobody is there to be told
        except asyncio.CancelledError:  # the service ends, and waits no longer
            if status == GONE:
                raise
            status = 503
            raise self._busy("the service ends") from None
        finally:
            self._note(status, faces, time.perf_counter() - start)

    async def _admitted(self, request: Request) -> int:
        """How long the body is; a refusal waits until the body was sent, as who is still sending does not hear it."""
        try:
            self.guard(request)
            if request.scope.get("state", {}).get(CROWDED):
                raise self._busy("too many connections are open")
            return self._length(request)
        except HTTPException:
            with suppress(ClientDisconnect, TimeoutError):
                await asyncio.wait_for(self._hear_out(request), self.limits.seconds)
            raise

    async def _hear_out(self, request: Request) -> None:
        """Reads on to the body's end, or to more than a body may have; nothing is kept."""
        left = self.limits.body
        async for piece in request.stream():
            left -= len(piece)
            if left < 0:
                return

    @contextmanager
    def _held(self, places: int) -> Iterator[None]:
        """Holds room for so many faces; 503 where there is none."""
        if places > self.room:
            raise self._busy("too much is waiting")
        self.room -= places
        self.metrics.waiting.inc(places)
        try:
            yield
        finally:
            self.room += places
            self.metrics.waiting.dec(places)

    def _length(self, request: Request) -> int:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != wire.MEDIA_TYPE:
            raise HTTPException(415, f"send {wire.MEDIA_TYPE}")
        length = request.headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            raise HTTPException(411, "say how long the body is, with Content-Length")
        if len(length) > 9 or int(length) > self.limits.body:
            raise HTTPException(413, f"a request has at most {self.limits.body} bytes; send fewer faces")
        return int(length)

    async def _body(self, request: Request, length: int) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > length:
                        raise HTTPException(400, "the body is longer than its Content-Length")
        except TimeoutError:
            raise HTTPException(408, f"the body did not come within {self.limits.seconds:g} s") from None
        return bytes(body)

    def _read(self, body: bytes) -> wire.Message:
        try:
            header = wire.Header.of(body)
            if header.grid.values > wire.ASKED or header.faces > self.limits.faces:
                raise wire.WireError(f"send at most {wire.ASKED} values, and {self.limits.faces} faces")
            if header.model != self.batcher.model.name:
                raise HTTPException(404, f"the model here is {self.batcher.model.name}; ask for that one")
            return wire.read(body)
        except wire.WireError as error:
            raise HTTPException(400, str(error)) from None

    async def _answer(self, message: wire.Message, receive: Receive) -> wire.Message:
        """The model's answer, as long as somebody waits for it."""
        work, left = asyncio.ensure_future(self.batcher(message)), asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((work, left), timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientDisconnect if left.done() else self._busy("the answer took too long")
            if error := work.exception():
                journal.note(logging.ERROR, "the model failed", error=type(error).__name__)
                raise self._busy("the model failed")
        finally:
            work.cancel()
            left.cancel()
        answer = work.result()
        self.metrics.faces.inc(len(answer.codes))
        return answer

    def _busy(self, why: str) -> HTTPException:
        again = self.limits.again
        return HTTPException(503, f"{why}; come again in {again} s", {"Retry-After": str(again)})

    def _note(self, status: int, faces: int, seconds: float) -> None:
        self.metrics.requests.labels(str(status)).inc()
        self.metrics.seconds.observe(seconds)
        journal.note(logging.INFO, "request", status=status, faces=faces, milliseconds=round(1000 * seconds, 1))


def application(model: Model, limits: Limits | None = None, token: str | None = None) -> Starlette:
    """The service of one model; with a token, noise and metrics are only for those who bear it."""
    limits, metrics, guard = limits or Limits(), Metrics(), _guard(token)
    batcher = Batcher(model, limits.batch, metrics.batch.observe)
    noise = Noise(batcher, limits, guard, metrics)
    description = describe(limits.body, limits.answer, limits.seconds, bool(token))
    facts = {"model": model.name, "epsilon": model.epsilon, "faces": limits.faces, "values": wire.ASKED}

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(batcher.running())
            except Exception as error:
                journal.note(logging.ERROR, "the model failed", error=type(error).__name__)
                raise
            yield

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "running"})

    async def ready(request: Request) -> Response:
        if not noise.room:
            raise HTTPException(503, "too much is waiting", {"Retry-After": str(limits.again)})
        return JSONResponse({"status": "ready", **facts})

    async def count(request: Request) -> Response:
        guard(request)
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def openapi(request: Request) -> Response:
        return JSONResponse(description)

    routes = [
        Route("/v1/noise", noise, methods=["POST"]),
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", count),
        Route("/openapi.json", openapi),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _refuse})
    app.router.redirect_slashes = False  # there is one address, and nobody is sent anywhere else
    return app


class Brief(H11Protocol):
    """A connection for one request, which ends in time, whatever its client does or leaves undone."""

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self.limits = limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        seconds, most, open_ = self.limits.seconds, self.limits.connections, len(self.connections)
        self.app_state = {**self.app_state, CROWDED: open_ > most}
        self._ends = [
            self.loop.call_later(seconds if open_ <= 2 * most else 0, self._begun),
            self.loop.call_later(STAGES * seconds, transport.abort),
        ]

    def connection_lost(self, exc: Exception | None) -> None:
        for end in self._ends:
            end.cancel()
        super().connection_lost(exc)

    def _begun(self) -> None:
        """Ends the connection where no whole head has come."""
        if self.cycle is None:
            self.transport.abort()


class Loop(asyncio.SelectorEventLoop):
    """An event loop in which a peer that does not go on with its TLS handshake is let go."""

    async def create_server(self, *given: Any, **named: Any) -> asyncio.Server:
        named["ssl_handshake_timeout"] = HANDSHAKE if named["ssl"] else None
        server: asyncio.Server = await super().create_server(*given, **named)
        return server


def configure(
    app: Starlette,
    limits: Limits,
    host: str = "127.0.0.1",
    port: int = 8765,
    certfile: Path | None = None,
    keyfile: Path | None = None,
) -> uvicorn.Config:
    """How the application is served: over TLS with a certificate; on SIGTERM, what has begun is finished first."""
    return uvicorn.Config(
        app,
        host,
        port,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        ssl_keyfile_password="none",  # noqa: S106 (so that nobody is asked for one)
        http=partial(Brief, limits),  # type: ignore[arg-type]
        loop=f"{__name__}:{Loop.__name__}",
        backlog=BACKLOG,
        headers=[("Connection", "close")],
        timeout_keep_alive=math.ceil(STAGES * limits.seconds),
        timeout_graceful_shutdown=math.ceil(limits.seconds),
        h11_max_incomplete_event_size=2**14,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        ws="none",
    )


class Server(uvicorn.Server):
    """A server that says where it serves, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        door = self.servers[0].sockets[0]
        host, port = door.getsockname()[:2]
        place = f"[{host}]" if door.family is socket.AF_INET6 else host
        journal.note(logging.INFO, "serving", url=f"http{'s' if self.config.is_ssl else ''}://{place}:{port}")


def run(
    app: Starlette, limits: Limits, host: str, port: int, certfile: Path | None = None, keyfile: Path | None = None
) -> None:
    """Serves until SIGTERM or Ctrl-C; raises `ServiceError` where it cannot."""
    server = Server(configure(app, limits, host, port, certfile, keyfile))
    try:
        server.config.load()
    except OSError as error:
        raise ServiceError(
            f"the certificate or its key cannot be used ({error.strerror or error}); give both in PEM, "
            "the key without a pass phrase"
        ) from error
    family, both = socket.AF_INET6 if ":" in host else socket.AF_INET, host == "::" and socket.has_dualstack_ipv6()
    try:
        door = socket.create_server((host, port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise ServiceError(f"cannot serve at {host}:{port} ({error.strerror or error}); give another") from error
    with closing(door), suppress(KeyboardInterrupt):
        server.run([door])


async def _left(receive: Receive) -> None:
    """Waits until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _guard(token: str | None) -> Guard:
    def check(request: Request) -> None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if token and not (kind.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())):
            raise HTTPException(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    return check


async def _send(data: bytes, fools: tuple[str, ...], send: Send) -> None:
    told = {"content-type": wire.MEDIA_TYPE, "content-length": str(len(data)), wire.FOOLS.lower(): ", ".join(fools)}
    headers = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for start in range(0, len(data), PIECE):
        await send({"type": "http.response.body", "body": data[start : start + PIECE], "more_body": True})
    await send({"type": "http.response.body"})


async def _refuse(request: Request, refusal: Exception) -> Response:
    """One line of what is wrong, which never quotes what was sent."""
    if not isinstance(refusal, HTTPException):
        raise refusal
    return JSONResponse({"error": refusal.detail}, refusal.status_code, refusal.headers)
