"""The service beside the bare forward pass of its model: faces a second, latency, and memory.

    OMP_WAIT_POLICY=passive python benchmarks/service.py [MODEL] [--threads 1] [--requests 10000]

Each client asks for one face at a time, on a new connection, and asks again when it has its answer.
"""

import argparse
import threading
import time

import numpy as np
import torch
from serving import Server, server

from faceveil.attacks.quantization import Grid
from faceveil.methods.apf.cloud import load
from faceveil.service import wire

CLIENTS = (1, 8, 64)
BATCHES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="apf")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads; faces a second of the bare forward pass, by batch:")
    bare = {batch: forward(arguments.model, batch, arguments.seconds / 5) for batch in BATCHES}
    print("  " + ", ".join(f"{batch}: {speed:.0f}" for batch, speed in bare.items()))
    best = max(bare, key=bare.get)
    words = ("--threads", str(arguments.threads), "--batch", str(best))
    with server(arguments.model, *words) as running:
        load_with(running, 8, 200)
        print(f"served in batches of up to {best}:")
        for clients in CLIENTS:
            start = time.perf_counter()
            times = load_with(running, clients, 0, arguments.seconds)
            speed = len(times) / (time.perf_counter() - start)
            p50, p99 = (1000 * np.quantile(times, share) for share in (0.5, 0.99))
            share = speed / bare[best]
            print(
                f"  {clients:2} clients: {speed:5.0f} faces/s ({share:.0%} of bare), p50 {p50:.0f} ms, p99 {p99:.0f} ms"
            )
        print(f"memory, MB, over {arguments.requests} requests of 64 clients: {running.memory():.0f}", end="")
        for _ in range(5):
            load_with(running, 64, arguments.requests // 5)
            print(f", {running.memory():.0f}", end="", flush=True)
        print()


def forward(model: str, batch: int, seconds: float) -> float:
    cloud = load(model)
    gradients = Grid(8, 2)(torch.rand(batch, 3, wire.SIDE, wire.SIDE) - 0.5)
    with torch.no_grad():
        cloud(gradients)
        faces, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            cloud(gradients)
            faces += batch
    return faces / (time.perf_counter() - start)


def load_with(running: Server, clients: int, requests: int, seconds: float = np.inf) -> list[float]:
    """Seconds of each request, all of them answered; so many requests, or for so long."""
    codes = torch.randint(0, 2, (1, 3, wire.SIDE, wire.SIDE), generator=torch.Generator().manual_seed(0))
    body = bytes(wire.Message("bench", Grid(8, 2), codes.to(torch.uint8)))
    expected = 200, wire.size(1, Grid(8, 17))
    end = time.perf_counter() + seconds
    times: list[float] = []

    def work(share: int) -> None:
        done = 0
        while time.perf_counter() < end and (done < share or not share):
            start = time.perf_counter()
            found = running.ask(body)
            times.append(time.perf_counter() - start)
            done += 1
            if found != expected:
                raise RuntimeError(f"{found} instead of {expected}")

    threads = [threading.Thread(target=work, args=(requests // clients,)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


if __name__ == "__main__":
    main()
