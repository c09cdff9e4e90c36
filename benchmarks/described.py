"""What schemathesis needs to try a running service by its own OpenAPI description: bodies of its media type.

    pip install schemathesis
    faceveil serve &
    SCHEMATHESIS_HOOKS=benchmarks/described.py schemathesis run http://127.0.0.1:8765/openapi.json \
        --phases coverage,fuzzing --max-examples 10000 --max-time 600 --exclude-checks positive_data_acceptance

A body is any bytes, or a message with some bytes changed, or cut. The description says of bytes only how many they may
be, so that most that fit it are no message, and are refused; hence the check that is left out.
"""

import schemathesis
import torch
from hypothesis import strategies as st

from faceveil.attacks.quantization import Grid
from faceveil.service import wire

MESSAGES = [
    bytes(wire.Message("apf", Grid(epsilon, values), torch.zeros(faces, 3, wire.SIDE, wire.SIDE, dtype=torch.uint8)))
    for epsilon, values, faces in ((8, 2, 1), (8, 3, 2), (1, 4, 1), (32, 2, 3))
]


def changed(data: bytes, at: int, piece: bytes) -> bytes:
    """Bytes with some of them replaced."""
    return data[:at] + piece + data[at + len(piece) :]


BODIES = st.one_of(
    st.binary(max_size=300),
    st.builds(changed, st.sampled_from(MESSAGES), st.integers(0, 60), st.binary(max_size=9)),
    st.builds(lambda data, end: data[:end], st.sampled_from(MESSAGES), st.integers(0, 5000)),
)
schemathesis.openapi.media_type(wire.MEDIA_TYPE, BODIES)


@schemathesis.serializer(wire.MEDIA_TYPE)
def serialize(context: object, body: object) -> bytes:
    """A body as it is sent."""
    return body if isinstance(body, bytes) else str(body).encode()
