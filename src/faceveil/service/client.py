"""The device's side: sends a gradient of few bits, and adds nothing of the answer that it did not check."""

import json
import math
import random
import re
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, responses
from io import BufferedReader, RawIOBase
from ssl import SSLCertVerificationError, SSLEOFError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

import torch

from faceveil.attacks.quantization import Grid
from faceveil.errors import ServiceError, SettingError
from faceveil.files import one_line
from faceveil.service import wire
from faceveil.types import Images

LOOPBACK = ("localhost", "127.0.0.1", "::1")
AGAIN = (408, 425, 429)  # what may go away by itself, beside all from 500
WORDS = 300  # the longest refusal that is repeated
LONGEST = 86_400  # seconds for a request
PAUSE = 4.0  # seconds: the longest pause that is not asked for


class CloudAway(UserWarning):
    """The cloud did not answer, or not as it should: faces are cloaked by the local gradient alone."""


class _Away(Exception):  # noqa: N818 (goes no further than this file)
    """Why there is no answer, and after how many seconds to ask again; not at all with None."""

    def __init__(self, why: str, again: float | None = 0.0) -> None:
        super().__init__(why)
        self.again = again


@dataclass
class Remote:
    """A cloud behind an address: gradients [n, 3, 112, 112] within `epsilon` levels in, noise within them out.

    Sends `values` of each number's possible values (2 is the sign alone), `together` faces at a time. Where it may help
    it tries again, for at most about `seconds` in all: after as long as the service says, and a pause of up to `pause`
    seconds, of twice as many each time, by chance less, so that many clients do not come back at once. Then, and where
    the answer is not what it must be, warns `CloudAway` and gives back the gradient itself, which is a weaker cloak;
    and leaves the service alone for `rest` seconds. Of `epsilon` the service gets the whole levels.

    Of the last gradients, `away` is whether they got no noise, and `fools` are the recognizers that the service's
    module learned to fool; None where it did not say.

    An address is https, or http on this machine: a gradient says who is in the photo (docs/service.md), so that it
    travels encrypted only. Redirections are not followed. Raises `SettingError` for other addresses, for a token that
    no header can bear, and for settings that make no sense.
    """

    url: str
    epsilon: float = 8.0
    token: str | None = field(default=None, repr=False)
    model: str = "apf"
    values: int = 2
    together: int = wire.TOGETHER
    seconds: float = 30.0
    pause: float = 0.5
    rest: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    chance: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        try:
            where = urlsplit(self.url)
            host = (where.hostname or "").encode("idna")
            fits = where.scheme in ("http", "https") and host and b"%" not in host and where.port != 0
        except ValueError:
            fits = False
        if not fits or not re.fullmatch("[!-~]+", self.url) or re.search("[@?#]", self.url):
            raise SettingError(f"{self.url!r} is no server's address; give https://HOST[:PORT]")
        if where.scheme == "http" and where.hostname not in LOOPBACK:
            raise SettingError(
                f"{self.url} is not encrypted, and a gradient says who you are; give https://HOST[:PORT]"
            )
        if not 1 <= self.epsilon < wire.LARGEST + 1:
            raise SettingError(f"epsilon is {self.epsilon:g}; with a server give 1 to {wire.LARGEST}")
        if self.token is not None and not wire.TOKEN.fullmatch(self.token):
            raise SettingError("the token is empty, or has spaces or letters that no header bears; give another")
        if not wire.NAME.fullmatch(self.model.encode(errors="replace")):
            raise SettingError(f"{self.model!r} is no model's name; give 1 to 32 of a-z, 0-9, '.', '_' and '-'")
        if self.together < 1:
            raise SettingError(f"together is {self.together}; give at least 1")
        if not 0 < self.seconds <= LONGEST:
            raise SettingError(f"seconds is {self.seconds:g}; give more than 0, and at most {LONGEST}, a day")
        self._resting_until = -math.inf
        self.away = False
        self.fools: tuple[str, ...] | None = None
        direct = [ProxyHandler({})] if where.hostname in LOOPBACK else []
        self._opener = build_opener(_Straight, _Plain, _Encrypted, *direct)

    def __call__(self, gradients: Images) -> Images:
        """The noise for each face; the gradients themselves where there is none.

        Raises `ServiceError` where the service refuses: a wrong token, another model; or has a certificate that nobody
        vouches for.
        """
        if self.clock() >= self._resting_until:
            try:
                noise = torch.cat([self._noise(some) for some in torch.split(gradients, self.together)])
            except _Away as away:
                self._resting_until = self.clock() + self.rest
                told = f"{self.url}: {away}; cloaking without the cloud, which is weaker"
                warnings.warn(told, CloudAway, stacklevel=2)
            else:
                self.away = False
                return noise.to(gradients.device)
        self.away, self.fools = True, ()
        return gradients

    def greet(self) -> None:
        """Asks for the noise of nothing: it raises and warns now of what each of many photos would meet."""
        self(torch.zeros(1, 3, wire.SIDE, wire.SIDE))

    def _noise(self, gradients: Images) -> Images:
        epsilon = math.floor(self.epsilon)
        asked, levels = Grid(epsilon, self.values), Grid(epsilon, 2 * epsilon + 1)
        message = wire.Message(self.model, asked, asked.codes(gradients.cpu()))
        data = self._ask(bytes(message), wire.size(len(gradients), levels))
        try:
            answer = wire.read(data)
        except wire.WireError as error:
            raise _Away(f"answered with something else ({error})", None) from error
        if (answer.model, answer.grid, len(answer.codes)) != (self.model, levels, len(gradients)):
            raise _Away("answered another question", None)
        return levels.noise(answer.codes)  # no code stands for more than epsilon

    def _ask(self, data: bytes, expected: int) -> bytes:
        """The answer, tried again while that may help."""
        end, pause = self.clock() + self.seconds, self.pause
        while True:
            try:
                return self._exchange(data, expected, end)
            except _Away as away:
                if away.again is None:
                    raise
                wait = away.again + self.chance.uniform(0, pause)
                if self.clock() + wait >= end:
                    raise
                self.sleep(wait)
                pause = min(2 * pause, PAUSE)

    def _exchange(self, data: bytes, expected: int, end: float) -> bytes:
        headers = {"Content-Type": wire.MEDIA_TYPE, "Accept": wire.MEDIA_TYPE}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = Request(self.url.rstrip("/") + "/v1/noise", data, headers)  # noqa: S310 (checked above)
        try:
            with self._opener.open(request, timeout=max(0.1, end - self.clock())) as answer:
                return self._read(answer, expected, end)
        except HTTPError as error:
            with error:
                raise _refusal(error) from error
        except URLError as error:
            if isinstance(error.reason, SSLCertVerificationError):
                raise ServiceError(
                    f"{self.url}: its certificate is not trusted ({one_line(error.reason.verify_message)}); "
                    "SSL_CERT_FILE names the authorities that are, such as one of your own"
                ) from error
            raise _Away(f"cannot be reached ({one_line(str(error.reason))})") from error
        except TimeoutError as error:
            raise _Away("answers too slowly") from error
        except (OSError, HTTPException) as error:
            raise _Away(f"cannot be reached ({type(error).__name__})") from error

    def _read(self, answer: HTTPResponse, expected: int, end: float) -> bytes:
        """The body of an answer, of which no more is read than one byte too many."""
        if answer.headers.get_content_type() != wire.MEDIA_TYPE:
            raise _Away("is not faceveil's service", None)
        told = answer.headers.get(wire.FOOLS)
        names = () if told is None else told.split(", ")
        self.fools = None if told is None else tuple(name for name in names if wire.NAME.fullmatch(name.encode()))
        data = b""
        while len(data) <= expected and (piece := answer.read1(expected + 1 - len(data))):
            data += piece
            if self.clock() > end:
                raise _Away("answers too slowly")
        return data


class _Straight(HTTPRedirectHandler):
    """Goes nowhere else, and reads no other address: a token and a gradient are for the one that the user gave."""

    def http_error_302(self, *answer: object) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302  # type: ignore[assignment]


class _Ending(HTTPConnection):
    """A connection that ends in time, however slowly and endlessly the other side goes on talking or listening."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.end = time.monotonic() + float(named["timeout"])
        self.response_class = partial(_Answer, end=self.end)  # type: ignore[assignment]
        self._create_connection = self._reach

    def _reach(self, address: tuple[str, int], timeout: float, *given: Any) -> socket.socket:
        """A socket to one of a host's addresses, which share the time."""
        many = len(socket.getaddrinfo(*address, type=socket.SOCK_STREAM))
        sock = socket.create_connection(address, timeout / many, *given)
        sock.settimeout(_left(self.end))
        return sock

    def send(self, data: Any) -> None:
        """Sends, and goes on to what the other side said where it listens no longer: why, perhaps."""
        if self.sock is None:
            self.connect()  # whose errors count: what has no TLS yet must not be sent on
        with suppress(BrokenPipeError, ConnectionResetError, SSLEOFError):
            self.sock.settimeout(_left(self.end))
            super().send(data)


class _EncryptedEnding(_Ending, HTTPSConnection):
    """The same over TLS."""


class _Plain(HTTPHandler):
    def http_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_Ending, request)


class _Encrypted(HTTPSHandler):
    def https_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_EncryptedEnding, request)


class _Answer(HTTPResponse):
    """What is read of it, whether interim answers, headers, body or trailers, is read before the end or not at all."""

    def __init__(self, sock: socket.socket, *given: Any, end: float, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        self.fp.close()
        self.fp = BufferedReader(_Until(sock, end))


class _Until(RawIOBase):
    """What comes from a socket until then."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self.sock, self.end = sock, end
        self.raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.sock.settimeout(_left(self.end))
        return self.raw.readinto(buffer)

    def close(self) -> None:
        self.raw.close()
        super().close()


def _left(end: float) -> float:
    """The seconds until then; raises `TimeoutError` where there are none."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _refusal(error: HTTPError) -> Exception:
    """Why there is no noise: something that may pass, or else a refusal in the service's words."""
    if error.code in AGAIN or error.code >= 500:
        again = error.headers.get("Retry-After", "")
        return _Away(f"is busy ({error.code})", float(again) if again.isascii() and again.isdecimal() else 0.0)
    if error.code // 100 == 3:
        return ServiceError(f"{error.url}: redirects to another address ({error.code}), which is not followed; give it")
    try:
        words = str(json.loads(error.read(WORDS))["error"])
    except (OSError, HTTPException, ValueError, TypeError, KeyError):
        words = responses.get(error.code, "without a reason")
    return ServiceError(f"{error.url}: refused ({error.code}): {one_line(words)}")
