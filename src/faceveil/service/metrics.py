"""What the service counts, for Prometheus: numbers and durations, never contents."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]


class Metrics:
    """The numbers of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("faceveil_requests", "Requests for noise.", ["status"], registry=self.registry)
        self.faces = Counter("faceveil_faces", "Faces that were answered.", registry=self.registry)
        self.seconds = Histogram("faceveil_request_seconds", "Time to answer.", registry=self.registry)
        self.batch = Histogram(
            "faceveil_batch_faces",
            "Faces that went together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.waiting = Gauge("faceveil_waiting_faces", "Faces at work or waiting.", registry=self.registry)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)
