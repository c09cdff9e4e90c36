import asyncio
import gc
import io
import json
import logging
import math
import socket
import time
import weakref
from contextlib import ExitStack, asynccontextmanager, closing

import httpx2
import pytest
import torch
from clouds import TOKEN, Broken, Curved, Gate, app_of, message, served
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from faceveil.attacks.quantization import Grid
from faceveil.errors import SettingError
from faceveil.service import journal, wire
from faceveil.service.batching import Batcher, Model
from faceveil.service.server import Limits, application

HEADERS = {"Content-Type": wire.MEDIA_TYPE}


def ask(client, data=None, **headers):
    return client.post("/v1/noise", content=bytes(message()) if data is None else data, headers=HEADERS | headers)


@pytest.fixture(scope="module")
def client():
    with TestClient(app_of(limits=Limits(faces=4, waiting=8))) as client:
        yield client


@asynccontextmanager
async def asynchronous(app):
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://here") as client:
            yield client


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def settled():
    """All that can go on without the model has gone on."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize("values", [2, 3, 4])
@pytest.mark.parametrize("epsilon", [1, 8, 12])
def test_answers_with_what_the_cloud_makes_within_epsilon(client, values, epsilon):
    asked = message(2, values, epsilon=epsilon)
    answer = wire.read(ask(client, bytes(asked)).content)
    expected = Curved()(Grid(8, values).noise(asked.codes)) * epsilon / 8
    assert (answer.model, answer.grid) == ("toy", Grid(epsilon, 2 * epsilon + 1))
    assert (255 * (answer.grid.noise(answer.codes) - expected)).abs().max() <= 0.5 + 1e-4


def test_a_model_of_another_epsilon_sees_its_own_and_what_it_makes_is_scaled_back():
    """Asked for 8 levels, a model of 4 that halves what it sees is given 4, makes 2 and answers 4."""
    seen = []

    def halve(gradients):
        seen.append(255 * gradients)
        return gradients / 2

    asked = message()
    with TestClient(application(Model("toy", halve, epsilon=4.0))) as client:
        assert client.get("/ready").json()["epsilon"] == 4
        answer = wire.read(ask(client, bytes(asked)).content)
    signs = 2.0 * asked.codes - 1
    assert torch.allclose(seen[-1], 4 * signs)
    assert answer.grid == Grid(8, 17)
    assert torch.allclose(255 * answer.grid.noise(answer.codes), 4 * signs)


def test_requests_at_one_time_go_together_and_get_what_each_gets_alone():
    gate = Gate()
    asked = [message(faces, values, seed) for seed, (faces, values) in enumerate([(1, 2), (2, 3), (1, 4), (3, 2)])]

    async def together():
        async with asynchronous(app_of(gate, Limits(batch=16))) as client:
            first = asyncio.create_task(ask(client, bytes(message(1, 2, 99))))
            await until(lambda: gate.entered == 2)
            others = [asyncio.create_task(ask(client, bytes(each))) for each in asked]
            await settled()
            gate.open.set()
            return await asyncio.gather(first, *others)

    answers = [wire.read(each.content) for each in asyncio.run(together())[1:]]
    assert gate.seen == [1, 1, 7]
    for each, answer in zip(asked, answers, strict=True):
        assert torch.equal(answer.codes, Grid(8, 17).codes(each.grid.noise(each.codes)))


def test_no_more_go_together_than_a_batch():
    gate = Gate()
    gate.open.set()

    async def large():
        async with asynchronous(app_of(gate, Limits(batch=4))) as client:
            return await ask(client, bytes(message(10))), (await client.get("/metrics")).text

    answer, counted = asyncio.run(large())
    assert len(wire.read(answer.content).codes) == 10
    assert gate.seen == [1, 4, 4, 2]
    assert 'faceveil_batch_faces_bucket{le="2.0"} 1.0' in counted
    assert 'faceveil_batch_faces_bucket{le="4.0"} 3.0' in counted


def test_what_does_not_fit_is_told_to_come_again():
    gate = Gate()

    async def crowd():
        async with asynchronous(app_of(gate, Limits(faces=2, waiting=4, again=7))) as client:
            accepted = [asyncio.create_task(ask(client, bytes(message(2)))) for _ in range(2)]
            await settled()
            refused = [await ask(client) for _ in range(50)]
            busy = await client.get("/ready")
            gate.open.set()
            return await asyncio.gather(*accepted), refused, busy, await client.get("/ready"), await ask(client)

    accepted, refused, busy, ready, later = asyncio.run(crowd())
    assert {each.status_code for each in refused} == {503} == {busy.status_code}
    assert {each.headers["Retry-After"] for each in refused} == {"7"}
    assert {each.status_code for each in (*accepted, ready, later)} == {200}


def test_faces_of_two_bits_take_twice_the_room():
    gate = Gate()

    async def crowd():
        async with asynchronous(app_of(gate, Limits(faces=2, waiting=4))) as client:
            accepted = asyncio.create_task(ask(client, bytes(message(2, 3))))
            await settled()
            refused = await ask(client)
            gate.open.set()
            return (await accepted).status_code, refused.status_code

    assert asyncio.run(crowd()) == (200, 503)


def test_an_answer_that_takes_too_long_is_given_up():
    gate = Gate()

    async def slow():
        async with asynchronous(app_of(gate, Limits(seconds=0.2))) as client:
            answers = [await ask(client) for _ in range(3)]
            gate.open.set()
            await until(lambda: len(gate.seen) == 2)
            await settled()
            return answers

    answers = asyncio.run(slow())
    assert {each.status_code for each in answers} == {503}
    assert "too long" in answers[0].json()["error"]
    assert gate.seen == [1, 1]  # of the two that waited, neither went through the model


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ArithmeticError("x"), KeyError("secret")])
def test_a_model_that_fails_is_a_promised_503(error, caplog):
    with TestClient(app_of(Broken(error))) as client:
        answer = ask(client)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert client.get("/health").status_code == 200
    assert "secret" not in caplog.text


def test_noise_that_is_not_finite_is_not_sent():
    with TestClient(app_of(lambda gradients: gradients / 0)) as client:
        assert ask(client).status_code == 503


def test_a_slow_body_is_not_waited_for():
    async def drip():
        yield b"FVCL"
        await asyncio.sleep(30)

    async def slow():
        async with asynchronous(app_of(limits=Limits(seconds=0.1))) as client:
            return await ask(client, drip(), **{"Content-Length": "4748"})

    assert asyncio.run(slow()).status_code == 408


def test_a_refusal_waits_until_the_body_was_sent():
    """Else who is still sending finds the connection gone, and never hears why."""
    sent = []

    async def pieces():
        for piece in (b"x" * 1000, b"y" * 1000):
            await asyncio.sleep(0.01)
            sent.append(piece)
            yield piece

    async def refused():
        async with asynchronous(app_of(token=TOKEN)) as client:
            return await ask(client, pieces(), **{"Content-Length": "2000"})

    assert asyncio.run(refused()).status_code == 401
    assert len(sent) == 2


def test_bodies_that_do_not_come_take_no_room():
    async def drip():
        yield b"FVCL"
        await asyncio.sleep(30)

    async def crowd():
        limits = Limits(faces=2, waiting=4, seconds=0.5)
        async with asynchronous(app_of(limits=limits)) as client:
            slow = [asyncio.create_task(ask(client, drip(), **{"Content-Length": "9452"})) for _ in range(9)]
            await settled()
            answers = await ask(client), await client.get("/ready")
            return [each.status_code for each in answers], [each.status_code for each in await asyncio.gather(*slow)]

    assert asyncio.run(crowd()) == ([200, 200], [408] * 9)


def connect(server, head=b"POST /v1/noise HTTP/1.1\r\nHost: here\r\n"):
    connection = socket.create_connection(server.servers[0].sockets[0].getsockname(), 10)
    connection.sendall(head)
    return connection


def heard(connection):
    """All that comes before the end."""
    with closing(connection), connection.makefile("rb") as stream:
        try:
            return stream.read()
        except ConnectionResetError:
            return b""


def test_beyond_enough_connections_all_hear_503_and_beyond_twice_as_many_nothing_is_read():
    limits = Limits(connections=2, seconds=5, again=7)
    with served(app_of(limits=limits), limits) as server, ExitStack() as open_:
        for _ in range(2):
            open_.enter_context(closing(connect(server)))
        health = heard(connect(server, b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n"))
        refused = heard(connect(server, b"POST /v1/noise HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc"))
        for _ in range(2):
            open_.enter_context(closing(connect(server)))
        cut = heard(connect(server))
    assert b" 200 OK" in health
    assert b" 503 " in refused
    assert b"retry-after: 7" in refused.lower()
    assert json.loads(refused.partition(b"\r\n\r\n")[2]) == {
        "error": "too many connections are open; come again in 7 s"
    }
    assert cut == b""


def test_a_client_that_left_costs_the_model_nothing():
    gate = Gate()
    data = bytes(message())
    lines = "POST /v1/noise HTTP/1.1", "Host: here", f"Content-Type: {wire.MEDIA_TYPE}", f"Content-Length: {len(data)}"
    head = "".join(f"{line}\r\n" for line in (*lines, ""))
    with served(app_of(gate)) as server:
        for number in range(1, 9):
            connection = connect(server, head.encode() + data)
            while len(server.server_state.tasks) < 1:
                time.sleep(0.005)
            if number == 1:
                while gate.entered < 2:
                    time.sleep(0.005)
            connection.close()
            while server.server_state.tasks:
                time.sleep(0.005)
        gate.open.set()
    assert gate.seen == [1, 1]  # the first, which was at work already


def test_what_is_given_up_is_not_kept():
    gate = Gate()

    async def crowd():
        batcher = Batcher(Model("toy", gate), 4)
        async with batcher.running():
            first = asyncio.create_task(batcher(message()))
            await until(lambda: gate.entered == 2)
            asked = message()
            kept, other = weakref.ref(asked), asyncio.create_task(batcher(asked))
            del asked
            await settled()
            waited = kept() is not None
            other.cancel()
            await settled()
            del other
            gc.collect()
            left = kept()
            gate.open.set()
            await first
            return waited, left

    assert asyncio.run(crowd()) == (True, None)


def test_what_is_answered_is_not_kept():
    async def one():
        batcher, asked = Batcher(Model("toy", lambda gradients: gradients), 4), message()
        async with batcher.running():
            answer = await batcher(asked)
            kept = weakref.ref(asked), weakref.ref(answer)
            del asked, answer
            await settled()
            gc.collect()
            return [each() for each in kept]

    assert asyncio.run(one()) == [None, None]


def test_what_has_begun_when_the_service_ends_is_answered_in_time_or_told_to_come_again():
    gate, limits = Gate(), Limits(seconds=1)
    data = bytes(message())
    lines = "POST /v1/noise HTTP/1.1", "Host: here", f"Content-Type: {wire.MEDIA_TYPE}", f"Content-Length: {len(data)}"
    with served(app_of(gate, limits), limits) as server:
        connection = connect(server, "".join(f"{line}\r\n" for line in (*lines, "")).encode())
        time.sleep(0.2)
        server.should_exit = True
        time.sleep(0.6)
        connection.sendall(data)
        told = heard(connection)
        gate.open.set()
    assert told.startswith(b"HTTP/1.1 503 ")
    assert json.loads(told.partition(b"\r\n\r\n")[2]) == {"error": "the service ends; come again in 1 s"}


def changed(at, data):
    whole = bytearray(bytes(message(2, 3)))
    whole[at : at + len(data)] = data
    return bytes(whole)


@pytest.mark.parametrize(
    ("data", "headers", "status", "said"),
    [
        (b"", {}, 400, "no message"),
        (changed(4, b"\2"), {}, 400, "version 1"),
        (changed(6, b"\5\0"), {}, 400, "at most 4 values"),
        (changed(8, b"\5\0"), {}, 400, "4 faces"),
        (changed(8, b"\1\0"), {}, 400, "bytes"),
        (changed(12, b"other"), {}, 404, "model here is toy; ask for"),
        (changed(60, b"\xff"), {}, 400, "a code is 3"),
        (b"x" * 40_000, {}, 413, "at most 37676 bytes"),
        (None, {"Content-Type": "image/jpeg"}, 415, wire.MEDIA_TYPE),
        (None, {"Content-Length": "nine"}, 411, "Content-Length"),
        (None, {"Content-Length": "9" * 30}, 413, "at most"),
        (None, {"Content-Length": "100"}, 400, "longer"),
    ],
)
def test_says_why_it_refuses(client, data, headers, status, said):
    answer = ask(client, data, **headers)
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_a_body_of_unknown_length_is_refused(client):
    assert ask(client, iter([bytes(message())])).status_code == 411


def test_other_places_and_verbs_are_refused_in_the_same_words(client):
    assert (client.get("/photos").status_code, client.get("/photos").json()) == (404, {"error": "Not Found"})
    assert client.get("/v1/noise").status_code == 405
    assert client.post("/v1/noise/").status_code == 404


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", "Bearer secret2", "Basic secret", "Bearer \xe9"])
def test_only_bearers_of_the_token_are_served(given):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    with TestClient(app_of(token=TOKEN)) as client:
        refused = ask(client, **headers)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        assert ask(client, Authorization="bearer secret").status_code == 200


def test_counts_for_prometheus():
    with TestClient(app_of()) as client:
        ask(client, bytes(message(3)))
        ask(client, b"")
        counted = client.get("/metrics").text
    assert 'faceveil_requests_total{status="200"} 1.0' in counted
    assert 'faceveil_requests_total{status="400"} 1.0' in counted
    assert "faceveil_faces_total 3.0" in counted
    assert "faceveil_waiting_faces 0.0" in counted
    assert 'faceveil_batch_faces_bucket{le="4.0"} 1.0' in counted


def test_says_what_it_serves(client):
    assert client.get("/ready").json() == {"status": "ready", "model": "toy", "epsilon": 8.0, "faces": 4, "values": 4}


def test_the_log_is_json_without_contents(client):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(journal.Lines())
    journal.LOG.addHandler(handler)
    journal.LOG.setLevel(logging.INFO)
    name = "name-of-somebody"
    try:
        ask(client)
        ask(client, name.encode(), Authorization=name, Cookie=name)
        ask(client, bytes(message(model=name)))
        client.get(f"/{name}?{name}")
    finally:
        journal.LOG.removeHandler(handler)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["status"] for line in lines] == [200, 400, 404]
    assert set(lines[0]) == {"time", "level", "event", "status", "faces", "milliseconds"}
    assert name not in stream.getvalue()


def test_of_an_exception_the_log_tells_only_the_kind():
    stream = io.StringIO()
    logger = logging.Logger("own")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(journal.Lines())
    logger.addHandler(handler)
    try:
        raise ValueError("a payload")
    except ValueError:
        logger.exception("failed")
    assert json.loads(stream.getvalue())["error"] == "ValueError"
    assert "payload" not in stream.getvalue()


def test_of_many_records_of_the_event_loop_one_a_second_is_written_in_one_line():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(journal.Lines())
    handler.addFilter(journal.Seldom())
    for second in (0.0, 0.5, 0.9, 1.0, 1.5):
        record = logging.LogRecord("asyncio", logging.ERROR, "", 0, "no descriptor\nsocket: of somebody", None, None)
        record.created = 1e9 + second
        handler.handle(record)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["no descriptor"] * 2


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.builds(changed, st.integers(0, 60), st.binary(min_size=1, max_size=9)),
    ),
    kind=st.sampled_from([wire.MEDIA_TYPE, "application/json", "", "multipart/form-data; boundary=x", "\xff"]),
    length=st.sampled_from([None, "0", "44", "18860", "-1", "1e3", "99999999999999", " 5", "0x10"]),
    verb=st.sampled_from(["POST", "POST", "POST", "PUT", "GET", "DELETE", "BREW"]),
    path=st.sampled_from(["/v1/noise", "/v1/noise", "/v1/noise/", "/metrics", "/ready", "/%00", "//", "/v1/../health"]),
)
def test_hostile_requests_are_refused_and_nothing_is_held(client, body, kind, length, verb, path):
    headers = {"Content-Type": kind.encode("latin-1")} | ({} if length is None else {"Content-Length": length})
    answer = client.request(verb, path, content=body, headers=headers)
    assert answer.status_code < 500
    assert "faceveil_waiting_faces 0.0" in client.get("/metrics").text


def test_is_described_by_its_openapi(client):
    described = client.get("/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    for path, verbs in described["paths"].items():
        assert client.options(path).status_code in (200, 405)
        assert "get" not in verbs or client.get(path).status_code == 200
    statuses = set(described["paths"]["/v1/noise"]["post"]["responses"])
    assert statuses == {"200", "400", "404", "408", "411", "413", "415", "503"}


def test_the_largest_request_and_answer_are_as_long_as_its_openapi_says(client):
    described = client.get("/openapi.json").json()["paths"]["/v1/noise"]["post"]
    asked = bytes(message(4, 4, epsilon=wire.LARGEST))
    for said, data in ((described["requestBody"], asked), (described["responses"]["200"], ask(client, asked).content)):
        assert said["content"][wire.MEDIA_TYPE]["schema"]["maxLength"] == len(data)


@pytest.mark.parametrize("wrong", [{"faces": 0}, {"seconds": -1.0}, {"seconds": math.inf}, {"faces": 200}])
def test_limits_make_sense(wrong):
    with pytest.raises(SettingError):
        Limits(**wrong)
