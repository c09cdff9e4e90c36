"""Malformed and hostile requests against a running service: which statuses come back, and does its memory grow?

    python benchmarks/hostile.py [MODEL] [--requests 10000] [--seed 0]

Requests are written to bare sockets: messages with bytes changed, lengths that lie, headers without end, wrong verbs,
paths and kinds, noise instead of HTTP, connections that are cut. Each bears a mark, and the log must not hold it.
"""

import argparse
import random
import socket
from collections import Counter

import torch
from serving import Server, server

from faceveil.attacks.quantization import Grid
from faceveil.service import wire

MARK = b"somebodys-secret"
VERBS = (*("POST",) * 20, "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW", "post", "")
PATHS = (
    "/v1/noise",
    "/v1/noise",
    "/v1/noise",
    "/v1/noise/",
    "/v1/../v1/noise",
    "/metrics",
    "/ready",
    "/%00%ff",
    "//",
    "*",
)
KINDS = (wire.MEDIA_TYPE,) * 20 + ("application/json", "image/jpeg", "multipart/form-data; boundary=x", "", "\x80")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="apf")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)  # noqa: S311
    with server(arguments.model, "--threads", "1", "--seconds", "0.2") as running:
        counts: Counter[str] = Counter()
        print(f"memory, MB: {running.memory():.0f}", end="", flush=True)
        for number in range(arguments.requests):
            counts[send(running, request(draw), draw)] += 1
            if (number + 1) % (arguments.requests // 10) == 0:
                print(f", {running.memory():.0f}", end="", flush=True)
        alive, log = running.get("/ready")[0], running.log.read_bytes()
    print(f"\nanswers: {', '.join(f'{status} {count}' for status, count in sorted(counts.items()))}")
    bad = [status for status in counts if status.startswith("5") and status != "503"]
    print(f"statuses that were not promised: {bad or 'none'}; ready after all: {alive == 200}")
    print(f"the log: {len(log.splitlines())} lines, the mark in it: {MARK in log}")
    if bad or alive != 200 or MARK in log:
        raise SystemExit(1)


def request(draw: random.Random) -> bytes:
    if draw.random() < 0.05:
        return draw.randbytes(draw.randrange(1, 400)) + MARK
    body = message(draw)
    length = draw.choice((len(body),) * 40 + (0, 44, 10**6, -1, 2**64, "1e3", "4748, 9", "", " 7", "0x10"))
    headers = [
        f"Host: {draw.choice(('here', 'here', '', 'a' * 300))}",
        f"Content-Type: {draw.choice(KINDS)}",
        f"Content-Length: {length}",
        f"Authorization: {MARK.decode()}",
    ]
    draw.shuffle(headers)
    strange = (
        "Transfer-Encoding: chunked",
        "X: " + "y" * 20_000,
        "Expect: 100-continue",
        "Upgrade: websocket",
        "no colon",
    )
    headers += draw.sample(strange, draw.choice((0,) * 9 + (1, 2)))
    path = draw.choice(PATHS) + draw.choice(("", "", f"?{MARK.decode()}"))
    start = f"{draw.choice(VERBS)} {path} {draw.choice(('HTTP/1.1',) * 20 + ('HTTP/1.0', 'HTTP/2', 'HTTQ/1', ''))}"
    head = "\r\n".join([start, *headers, *draw.choice(([], ["Connection: close"])), "", ""]).encode("latin-1")
    if draw.random() < 0.1:  # a byte of the head is another
        at = draw.randrange(len(head))
        head = head[:at] + draw.randbytes(1) + head[at + 1 :]
    return head + body


def message(draw: random.Random) -> bytes:
    values, faces = draw.choice((2, 2, 3, 4, 17)), draw.choice((1, 1, 2, 40))
    codes = torch.full((faces, 3, wire.SIDE, wire.SIDE), draw.randrange(values), dtype=torch.uint8)
    name = draw.choice(("bench", "bench", "bench", MARK.decode()))
    data = bytearray(bytes(wire.Message(name, Grid(draw.choice((1, 8, 32)), values), codes)))
    for _ in range(draw.choice((0, 0, 1, 2, 5))):
        data[draw.choice((draw.randrange(wire.HEADER), draw.randrange(len(data))))] = draw.randrange(256)
    cut = draw.choice((len(data),) * 6 + (draw.randrange(len(data)), 0, 43))
    return bytes(data[:cut]) + draw.choice((b"", b"", b"", MARK))


def send(running: Server, data: bytes, draw: random.Random) -> str:
    """The status, or what happened instead."""
    try:
        with socket.create_connection(("127.0.0.1", running.port), timeout=1.5) as connection:
            connection.sendall(data)
            if draw.random() < 0.1:
                return "cut by us"
            if draw.random() < 0.5:
                connection.shutdown(socket.SHUT_WR)
            line = connection.recv(64)
    except OSError as error:
        return type(error).__name__
    words = line.split()
    return words[1].decode() if len(words) > 1 else "closed"


if __name__ == "__main__":
    main()
