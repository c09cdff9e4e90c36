import math
import random
import socket
import ssl
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from functools import partial

import pytest
import torch
from clouds import (
    TOKEN,
    Curved,
    Gate,
    address,
    answering,
    app_of,
    certificate,
    codes,
    free_port,
    message,
    needs_openssl,
    served,
)

from faceveil.attacks.quantization import Grid
from faceveil.cli.protect import _cloud
from faceveil.errors import ServiceError, SettingError
from faceveil.service import wire
from faceveil.service.client import CloudAway, Remote
from faceveil.service.server import Limits

GRADIENTS = Grid(8, 5).noise(codes(3, 5))
LEVELS = {"Content-Type": wire.MEDIA_TYPE}


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def remote(url, **settings):
    clock = Clock()
    return Remote(url, model="toy", **({"sleep": clock.sleep, "clock": clock} | settings)), clock


def noise(faces=3, epsilon=8, values=17, model="toy"):
    return bytes(wire.Message(model, Grid(epsilon, values), codes(faces, values)))


@pytest.fixture(scope="module")
def service():
    with served(app_of()) as server:
        yield address(server)


@pytest.mark.parametrize("values", [2, 3, 4])
@pytest.mark.parametrize("epsilon", [8.0, 4.0, 2.7])
def test_gets_what_the_cloud_makes(service, values, epsilon):
    found = Remote(service, epsilon, model="toy", values=values)(GRADIENTS * epsilon / 8)
    whole = int(epsilon)
    expected = Curved()(Grid(8, values)(GRADIENTS * epsilon / whole)) * whole / 8
    assert (255 * (found - expected)).abs().max() <= 0.5 + 1e-4
    assert (255 * found).abs().max() <= epsilon


def test_hears_whom_the_module_learned_to_fool(service):
    client = Remote(service, model="toy")
    assert client.fools is None
    client(GRADIENTS)
    assert client.fools == ("toy-9", "toy-8")


@pytest.mark.parametrize(
    ("told", "heard"), [({}, None), ({wire.FOOLS: ""}, ()), ({wire.FOOLS: "toy-9, <b>, " + 33 * "a"}, ("toy-9",))]
)
def test_takes_names_of_recognizers_only(told, heard):
    with answering((200, LEVELS | told, noise())) as (url, _):
        client, _ = remote(url)
        client(GRADIENTS)
    assert client.fools == heard


def test_sends_the_sign_alone_and_nothing_else():
    with answering((200, LEVELS, noise())) as (url, asked):
        remote(url)[0](GRADIENTS)
    (path, headers, body) = asked[0]
    assert path == "/v1/noise"
    assert len(body) == wire.HEADER + 3 * 4704
    assert torch.equal(wire.read(body).codes, (GRADIENTS >= 0).byte())
    assert set(headers) == {
        "Accept-Encoding",
        "Accept",
        "Content-Type",
        "Content-Length",
        "Host",
        "User-Agent",
        "Connection",
    }


def test_an_address_may_be_a_folder_s_and_end_with_a_slash():
    with answering((200, LEVELS, noise())) as (url, asked):
        for place in ("/", "/cloud", "/cloud/"):
            remote(url + place)[0](GRADIENTS)
    assert [path for path, *_ in asked] == ["/v1/noise", "/cloud/v1/noise", "/cloud/v1/noise"]


def test_sends_many_faces_in_several_requests():
    with answering((200, LEVELS, noise(2)), (200, LEVELS, noise(1))) as (url, asked):
        found = remote(url, together=2)[0](GRADIENTS)
    assert len(asked) == 2
    assert len(found) == 3


HOSTILE = {
    "larger noise": noise(epsilon=32),
    "smaller noise": noise(epsilon=1),
    "another face": noise(4),
    "another model": noise(model="other"),
    "no message": b"<html>" * 100,
    "nothing": b"",
    "too short": noise()[:-1],
    "too long": noise() + b"x",
    "endless": bytes(10**7),
    "a code beyond": noise()[: wire.HEADER] + b"\xff" * (len(noise()) - wire.HEADER),
    "gradients": bytes(message(3)),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_adds_nothing_of_an_answer_that_is_wrong(body):
    with answering((200, LEVELS, body)) as (url, asked), pytest.warns(CloudAway, match="without the cloud"):
        found = remote(url)[0](GRADIENTS)
    assert torch.equal(found, GRADIENTS)
    assert len(asked) == 1


@pytest.mark.parametrize("epsilon", [1, 8, 32])
def test_no_answer_can_go_beyond_epsilon(epsilon):
    """Even a server that says whatever the format can say writes nothing that shows more than was asked for."""
    for values in (2, 2 * epsilon + 1, 256):
        with warnings.catch_warnings(), answering((200, LEVELS, noise(3, epsilon, values))) as (url, _):
            warnings.simplefilter("ignore", CloudAway)
            found = remote(url, epsilon=epsilon)[0](GRADIENTS.clamp(-epsilon / 255, epsilon / 255))
        assert (255 * found).abs().max() <= epsilon + 1e-4


def test_comes_again_after_as_long_as_it_is_told():
    busy = (503, {"Retry-After": "3"}, b"{}")
    with answering(busy, (429, {"Retry-After": "5"}, b""), (200, LEVELS, noise())) as (url, asked):
        client, clock = remote(url, chance=random.Random(1))
        found = client(GRADIENTS)
    assert len(asked) == 3
    expected = random.Random(1)
    assert clock.slept == [3 + expected.uniform(0, 0.5), 5 + expected.uniform(0, 1)]  # clients do not come in step
    assert torch.equal(found, Grid(8, 17).noise(codes(3, 17)))


def test_waits_longer_each_time_and_by_chance_until_the_seconds_are_over():
    with answering((502, {"Retry-After": "soon"}, b"")) as (url, _), pytest.warns(CloudAway, match=r"busy \(502\)"):
        client, clock = remote(url, pause=1.0, seconds=20.0, chance=random.Random(1))
        client(GRADIENTS)
    expected = random.Random(1)
    assert clock.slept == [expected.uniform(0, most) for most in (1, 2, *(len(clock.slept) - 2) * [4])]
    assert 16 < clock.now < 20


def test_outlasts_a_restart():
    port = free_port()
    opened, found = threading.Event(), []
    client, _ = remote(f"http://127.0.0.1:{port}", sleep=lambda seconds: opened.wait(5))
    thread = threading.Thread(target=lambda: found.append(client(GRADIENTS)))
    thread.start()
    with answering((200, LEVELS, noise()), port=port):
        opened.set()
        thread.join()
    assert torch.equal(found[0], Grid(8, 17).noise(codes(3, 17)))
    assert not client.away


def test_knows_that_the_last_faces_got_no_noise(service):
    client, clock = remote(service)
    client(GRADIENTS)
    assert (client.away, client.fools) == (False, ("toy-9", "toy-8"))
    client.url = f"http://127.0.0.1:{free_port()}"
    with pytest.warns(CloudAway):
        client(GRADIENTS)
    assert (client.away, client.fools) == (True, ())
    client.url = service
    client(GRADIENTS)  # while it is left alone
    assert (client.away, client.fools) == (True, ())
    clock.now += client.rest + 1
    client(GRADIENTS)
    assert (client.away, client.fools) == (False, ("toy-9", "toy-8"))


def test_a_greeting_hears_a_refusal():
    with served(app_of(token=TOKEN)) as server, pytest.raises(ServiceError, match="token"):
        Remote(address(server), model="toy").greet()


def test_does_not_wait_longer_than_it_was_given():
    with answering((503, {"Retry-After": "600"}, b"")) as (url, asked), pytest.warns(CloudAway):
        client, clock = remote(url)
        client(GRADIENTS)
    assert (clock.slept, len(asked)) == ([], 1)


def test_without_a_cloud_the_gradient_itself_is_left_and_nobody_is_asked_for_a_while():
    client, clock = remote(f"http://127.0.0.1:{free_port()}")
    with pytest.warns(CloudAway, match="cannot be reached") as caught:
        assert torch.equal(client(GRADIENTS), GRADIENTS)
        assert torch.equal(client(GRADIENTS), GRADIENTS)
    assert len(caught) == 1
    clock.now += client.rest + 1
    with pytest.warns(CloudAway):
        client(GRADIENTS)


@pytest.mark.parametrize("where", ["https://elsewhere.invalid/", "http://127.0.0.1:1/", "http://[bad", "file:///etc"])
def test_goes_nowhere_else(where):
    with (
        answering((307, {"Location": where}, b"")) as (url, asked),
        pytest.raises(ServiceError, match=r"redirects to another address \(307\)"),
    ):
        remote(url, token=TOKEN)[0](GRADIENTS)
    assert len(asked) == 1


def test_what_goes_to_this_machine_goes_through_no_proxy(service, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert not torch.equal(Remote(service, model="toy", seconds=5.0)(GRADIENTS), GRADIENTS)
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_page_is_no_answer():
    with answering((200, {"Content-Type": "text/html"}, b"<p>")) as (url, _), pytest.warns(CloudAway, match="is not"):
        remote(url)[0](GRADIENTS)


def test_says_in_one_line_why_it_was_refused():
    body = b'{"error": "no\\nsuch \\u001b[31mmodel"}'
    with answering((404, {}, body)) as (url, asked), pytest.raises(ServiceError) as caught:
        remote(url)[0](GRADIENTS)
    assert str(caught.value) == f"{url}/v1/noise: refused (404): no?such ?[31mmodel"
    assert len(asked) == 1


def test_repeats_a_proxys_words_in_one_plain_line(monkeypatch):
    def refuse():
        with door.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 403 \x1b]0;owned\x07\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as door:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{door.getsockname()[1]}")
        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.warns(CloudAway, match=r"403 \?\]0;owned\?\)"):
            remote("https://elsewhere.invalid", pause=math.inf)[0](GRADIENTS)
        thread.join()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error": ', b"\xff" * 400])
def test_a_refusal_need_not_give_a_reason(body):
    with answering((403, {}, body)) as (url, _), pytest.raises(ServiceError, match=r"refused \(403\): Forbidden"):
        remote(url)[0](GRADIENTS)


def test_a_slow_answer_is_not_waited_for():
    gate = Gate()
    with served(app_of(gate)) as server, pytest.warns(CloudAway, match="too slowly"):
        Remote(address(server), model="toy", seconds=0.2)(GRADIENTS)
        gate.open.set()


@contextmanager
def listening(talk):
    """The port of a server that talks thus on each connection, one after the other."""

    def work():
        with suppress(OSError):
            while True:
                connection, _ = door.accept()
                with suppress(OSError), connection:
                    talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)  # so that what is not read cannot all be sent
        thread = threading.Thread(target=work)
        thread.start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)
    thread.join()


def saying(words, tail=b"", *, read=2**20, pause=0.02):
    """Reads so many bytes, says its words at once, and the tail until nobody listens, or for five seconds."""

    def talk(connection):
        connection.settimeout(0.2)
        with suppress(TimeoutError):
            left = read
            while left > 0 and (piece := connection.recv(left)):
                left -= len(piece)
        end = time.monotonic() + 5
        connection.sendall(words)
        while tail and time.monotonic() < end:
            connection.sendall(tail)
            time.sleep(pause)

    return talk


@contextmanager
def within(seconds):
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


OK, KIND = b"HTTP/1.1 200 OK\r\n", f"Content-Type: {wire.MEDIA_TYPE}\r\n".encode()
NO = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 15\r\n\r\n{"error": "no"}'
ENDLESS = {
    "a status line": (b"HTTP/1.1 200 ", b"O"),
    "headers": (OK, b"a: b\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": (OK + KIND + b"\r\n", b"x"),
    "trailers": (OK + KIND + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
}


@pytest.mark.parametrize("pause", [0, 0.02])
@pytest.mark.parametrize(("words", "tail"), ENDLESS.values(), ids=ENDLESS.keys())
def test_no_answer_goes_on_longer_than_the_seconds(words, tail, pause):
    with listening(saying(words, tail, pause=pause)) as port, within(3), pytest.warns(CloudAway):
        client = Remote(f"http://127.0.0.1:{port}", model="toy", seconds=0.6)
        assert torch.equal(client(GRADIENTS), GRADIENTS)


def test_a_refusal_is_one_though_its_reason_does_not_end():
    talk = saying(b"HTTP/1.1 404 Not Found\r\n\r\n", b"x")
    with listening(talk) as port, within(3), pytest.raises(ServiceError, match=r"refused \(404\): Not Found"):
        Remote(f"http://127.0.0.1:{port}", model="toy", seconds=0.6)(GRADIENTS)


def test_the_addresses_of_a_host_share_the_seconds(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))] * 10
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **kind: found)
    monkeypatch.setattr(socket.socket, "connect", silent)
    with within(3), pytest.warns(CloudAway, match="timed out"):
        Remote("https://photos.example", model="toy", seconds=0.6)(GRADIENTS)


def silent(sock, where):
    """What connecting is to an address where nobody answers."""
    time.sleep(sock.gettimeout())
    raise TimeoutError("timed out")


def test_hears_a_refusal_that_comes_before_all_was_sent():
    many = Grid(8, 256).noise(codes(64, 256))
    with listening(saying(NO, read=2**16)) as port, pytest.raises(ServiceError, match=r"refused \(401\): no"):
        Remote(f"http://127.0.0.1:{port}", model="toy", values=256, together=64)(many)


def test_nothing_goes_unencrypted_through_a_proxy_that_breaks_off(monkeypatch):
    heard = bytearray()

    def talk(connection):
        connection.settimeout(5)
        connection.recv(2**16)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(2**16):
            heard.extend(piece)

    with listening(talk) as port, pytest.warns(CloudAway, match="cannot be reached"):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        Remote("https://photos.example", model="toy", token=TOKEN, pause=math.inf)(GRADIENTS)
    assert not heard


def test_bears_the_token():
    with served(app_of(token=TOKEN)) as server:
        client = Remote(address(server), model="toy", token=TOKEN)
        assert not torch.equal(client(GRADIENTS), GRADIENTS)
        with pytest.raises(ServiceError, match="token"):
            Remote(address(server), model="toy", token="another")(GRADIENTS)  # noqa: S106
    assert TOKEN not in repr(client)


@pytest.mark.parametrize(
    "url",
    [
        *("photos.example", "ftp://a", "file:///etc/passwd", "http://photos.example", "https://", "https://me:pw@a"),
        *(
            "https://[bad",
            "https://a:b",
            "https://a/\xe4",
            "https://\xe4",
            "https://a?b=1",
            "https://a#b",
            "https://a b",
            "https://a..b",
            "https://%E4",
            "https://a\x7f",
        ),
    ],
)
def test_sends_to_encrypted_addresses_only(url):
    with pytest.raises(SettingError):
        Remote(url)


@pytest.mark.parametrize("token", ["", "secret\n", "a b", "\u20ac"])
def test_bears_no_token_that_fits_no_header(token):
    with pytest.raises(SettingError, match="the token is") as caught:
        Remote("https://photos.example", token=token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("together", 0), *(("seconds", wrong) for wrong in (0.0, float("nan"), float("inf")))],
)
def test_sends_something_and_not_for_ever(name, value):
    with pytest.raises(SettingError, match=f"{name}.* {value:g}"):
        Remote("https://photos.example", **{name: value})


def test_the_command_line_says_each_time_that_the_cloud_is_away(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        client = _cloud("apf", f"http://127.0.0.1:{free_port()}", None, {})
        client.seconds, client.rest = 0.2, 0
        for _ in range(2):
            client(GRADIENTS)
    assert capsys.readouterr().err.count("cannot be reached") == 2


@pytest.mark.parametrize(
    ("epsilon", "settings", "asked"),
    [
        (None, {}, (8, "apf")),
        (None, {"model": "mine", "epsilon": 4, "steps": 10}, (4, "mine")),
        (6.0, {"epsilon": 4}, (6, "apf")),
    ],
)
def test_the_command_line_asks_for_what_is_set(epsilon, settings, asked):
    client = _cloud("apf", "https://photos.example", epsilon, settings)
    assert (client.epsilon, client.model) == asked


@pytest.mark.parametrize("model", ["", "Mine", "runs/mine.safetensors", 33 * "a", "\udcff"])
def test_asks_for_what_can_be_a_models_name_only(model):
    with pytest.raises(SettingError, match="no model's name; give 1 to 32 of a-z"):
        Remote("https://photos.example", model=model)


@pytest.mark.parametrize("status", [408, 425, 500, 501, 521])
def test_what_may_pass_is_no_refusal(status):
    with answering((status, {}, b"")) as (url, asked), pytest.warns(CloudAway, match="busy"):
        remote(url, seconds=1.0)[0](GRADIENTS)
    assert len(asked) > 1


@pytest.mark.parametrize("epsilon", [0.5, 33.0, float("nan")])
def test_sends_what_can_be_sent_only(epsilon):
    with pytest.raises(SettingError):
        Remote("https://photos.example", epsilon)


def test_many_clients_at_one_time_get_what_each_gets_alone(service):
    gradients = [Grid(8, 2).noise(codes(2, 2, seed)) for seed in range(12)]
    alone = [Remote(service, model="toy")(each) for each in gradients]
    together = [None] * len(gradients)

    def work(i):
        together[i] = Remote(service, model="toy")(gradients[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(gradients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_server_that_shuts_down_finishes_what_it_began():
    gate, found = Gate(), []
    with served(app_of(gate)) as server:
        thread = threading.Thread(target=lambda: found.append(Remote(address(server), model="toy")(GRADIENTS)))
        thread.start()
        while not server.server_state.tasks:
            time.sleep(0.005)
        server.should_exit = True
        time.sleep(0.2)
        gate.open.set()
    thread.join()
    assert torch.equal(found[0], Grid(8, 17)(Grid(8, 2)(GRADIENTS)))


def test_too_many_connections_are_refused_and_tried_again():
    gate, limits = Gate(), Limits(connections=1)
    with served(app_of(gate, limits), limits) as server, pytest.warns(CloudAway, match=r"busy \(503\)"):
        first = threading.Thread(target=lambda: Remote(address(server), model="toy")(GRADIENTS))
        first.start()
        while not server.server_state.tasks:
            time.sleep(0.005)
        client, clock = remote(address(server))
        client(GRADIENTS)
        gate.open.set()
        first.join()
    assert len(clock.slept) > 2


def test_a_client_that_says_nothing_is_let_go():
    limits = Limits(seconds=0.1)
    with (
        served(app_of(limits=limits), limits) as server,
        socket.create_connection(server.servers[0].sockets[0].getsockname()) as silent,
    ):
        silent.sendall(b"POST /v1/noise HTTP/1.1\r\nHost:")
        silent.settimeout(10)
        with suppress(ConnectionResetError):
            assert silent.recv(1) == b""


@needs_openssl
def test_speaks_over_tls(tmp_path, monkeypatch):
    cert, key = certificate(tmp_path)
    with served(app_of(), certfile=cert, keyfile=key) as server:
        url = address(server).replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(ServiceError, match=r"not trusted \(self.signed certificate\); SSL_CERT_FILE"):
            remote(url)[0](GRADIENTS)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not torch.equal(Remote(url, model="toy")(GRADIENTS), GRADIENTS)


def encrypted(talk, cert, key):
    """The same over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def over(connection):
        with context.wrap_socket(connection, server_side=True) as wrapped:
            talk(wrapped)

    return over


def handshaking(connection):
    """Says one byte after the other of a TLS handshake that never ends."""
    saying(b"\x16\x03\x03\x40\x00", b"\x02", read=1)(connection)


def reading(connection):
    """Reads little by little, for five seconds."""
    end = time.monotonic() + 5
    while time.monotonic() < end and connection.recv(2**13):
        time.sleep(0.1)


@needs_openssl
@pytest.mark.parametrize(
    "talk", [handshaking, reading, saying(OK, b"a", read=2**15)], ids=["handshake", "reading", "head"]
)
def test_no_exchange_over_tls_goes_on_longer_than_the_seconds(talk, tmp_path, monkeypatch):
    cert, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    monkeypatch.setattr(socket, "create_connection", partial(narrow, socket.create_connection))
    many = Grid(8, 256).noise(codes(16, 256))
    talk = talk if talk is handshaking else encrypted(talk, cert, key)
    with listening(talk) as port, pytest.warns(CloudAway), within(3):
        Remote(f"https://localhost:{port}", model="toy", values=256, seconds=0.6)(many)


@needs_openssl
def test_what_follows_the_connection_has_all_the_time_that_is_left(tmp_path, monkeypatch):
    cert, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))

    def late(connection):
        time.sleep(0.5)
        encrypted(saying(NO, read=2**10), cert, key)(connection)

    with listening(late) as port, pytest.raises(ServiceError, match="401"):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))] * 10
        monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **kind: found)
        Remote(f"https://localhost:{port}", model="toy", seconds=3.0)(GRADIENTS)


def narrow(connect, *given):
    """A connection that takes little before the other side has read it."""
    connection = connect(*given)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**14)
    return connection


@needs_openssl
def test_hears_such_a_refusal_over_tls(tmp_path, monkeypatch):
    cert, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    many = Grid(8, 256).noise(codes(64, 256))
    talk = encrypted(saying(NO, read=2**15), cert, key)
    with listening(talk) as port, pytest.raises(ServiceError, match=r"refused \(401\): no"):
        Remote(f"https://localhost:{port}", model="toy", values=256, together=64)(many)
