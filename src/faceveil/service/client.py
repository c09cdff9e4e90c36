"""The device's side: sends a gradient of few bits, and adds nothing of the answer that it did not check."""

import json
import math
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import torch

from faceveil.attacks.quantization import Grid
from faceveil.errors import ServiceError, SettingError
from faceveil.photo.files import one_line
from faceveil.service import wire
from faceveil.types import Images

LOOPBACK = ("localhost", "127.0.0.1", "::1")
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # what may go away by itself
WORDS = 300  # the longest refusal that is repeated


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

    Sends `values` of each number's possible values (2 is the sign alone), `together` faces at a time. Tries `tries`
    times, waiting twice as long each time, up to `pause` seconds and by chance less, so that many clients do not come
    back at once; or as long as the service says. One request with all its tries takes at most about `seconds`. Then,
    and where the answer is not what it must be, warns `CloudAway` and gives back the gradient itself, which is a weaker
    cloak; and leaves the service alone for `rest` seconds.

    An address is https, or http on this machine: a gradient says who is in the photo (docs/service.md), so that it
    travels encrypted only. Redirections are not followed. Raises `SettingError` for other addresses.
    """

    url: str
    epsilon: float = 8.0
    token: str | None = field(default=None, repr=False)
    model: str = "apf"
    values: int = 2
    together: int = 16
    tries: int = 4
    seconds: float = 30.0
    pause: float = 0.5
    rest: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    chance: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        where = urlsplit(self.url)
        if where.scheme not in ("http", "https") or not where.hostname or "@" in where.netloc:
            raise SettingError(f"{self.url!r} is no server's address; give https://HOST[:PORT]")
        if where.scheme == "http" and where.hostname not in LOOPBACK:
            raise SettingError(
                f"{self.url} is not encrypted, and a gradient says who you are; give https://HOST[:PORT]"
            )
        if not 1 <= self.epsilon < wire.LARGEST + 1:
            raise SettingError(f"epsilon is {self.epsilon:g}; with a server give 1 to {wire.LARGEST}")
        self._resting_until = -math.inf
        direct = [ProxyHandler({})] if where.hostname in LOOPBACK else []
        self._opener = build_opener(_Straight, *direct)

    def __call__(self, gradients: Images) -> Images:
        """The noise for each face; the gradients themselves where there is none.

        Raises `ServiceError` where the service refuses: a wrong token, another model.
        """
        if self.clock() < self._resting_until:
            return gradients
        try:
            return torch.cat([self._noise(some) for some in torch.split(gradients, self.together)]).to(gradients.device)
        except _Away as away:
            self._resting_until = self.clock() + self.rest
            warnings.warn(f"{self.url}: {away}; cloaking without the cloud, which is weaker", CloudAway, stacklevel=2)
            return gradients

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
        end = self.clock() + self.seconds
        for attempt in range(1, self.tries + 1):
            try:
                return self._exchange(data, expected, end)
            except _Away as away:
                if away.again is None or attempt == self.tries:
                    raise
                wait = max(away.again, self.chance.uniform(0, self.pause * 2 ** (attempt - 1)))
                if self.clock() + wait >= end:
                    raise
                self.sleep(wait)
        raise _Away("was not asked, as tries is 0", None)

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
            raise _Away(f"cannot be reached ({error.reason})") from error
        except (OSError, HTTPException) as error:
            raise _Away(f"cannot be reached ({type(error).__name__})") from error

    def _read(self, answer: HTTPResponse, expected: int, end: float) -> bytes:
        """The body of an answer, of which no more is read than one byte too many."""
        if answer.headers.get_content_type() != wire.MEDIA_TYPE:
            raise _Away("is not faceveil's service", None)
        data = b""
        while len(data) <= expected and (piece := answer.read1(expected + 1 - len(data))):
            data += piece
            if self.clock() > end:
                raise _Away("answers too slowly")
        return data


class _Straight(HTTPRedirectHandler):
    """Goes nowhere else: a token and a gradient are for the address that the user gave."""

    def redirect_request(self, *args: object) -> None:
        return None


def _refusal(error: HTTPError) -> Exception:
    """Why there is no noise: something that may pass, or else a refusal in the service's words."""
    if error.code in AGAIN:
        again = error.headers.get("Retry-After", "")
        return _Away(f"is busy ({error.code})", float(again) if again.isascii() and again.isdecimal() else 0.0)
    try:
        words = str(json.loads(error.read(WORDS))["error"])
    except (OSError, HTTPException, ValueError, TypeError, KeyError):
        words = "without a reason"
    return ServiceError(f"{error.url}: refused ({error.code}): {one_line(words)}")
