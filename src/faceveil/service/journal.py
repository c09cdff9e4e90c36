"""The log: a line of JSON for each event, to standard error. Neither contents nor clients' addresses are written."""

import json
import logging
from datetime import UTC, datetime

LOG = logging.getLogger("faceveil.service")


def note(level: int, event: str, **facts: str | float) -> None:
    """Writes an event and its facts."""
    LOG.log(level, event, extra={"facts": facts})


class Lines(logging.Formatter):
    """Each record as one JSON object; of an exception only its kind, as its text may quote what was sent."""

    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage().partition("\n")[0],
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[0]:
            facts["error"] = record.exc_info[0].__name__
        return json.dumps(facts)


class Seldom(logging.Filter):
    """Lets a record pass once in so many seconds: asyncio's come by thousands where descriptors run out."""

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__()
        self.seconds, self.next = seconds, 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        due = record.created >= self.next
        if due:
            self.next = record.created + self.seconds
        return due


def start() -> None:
    """Sends the log of the service, of its web server and of the event loop to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    for name in (LOG.name, "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("asyncio").addFilter(Seldom())
