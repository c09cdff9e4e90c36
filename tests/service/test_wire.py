import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.attacks.quantization import Grid
from faceveil.service import wire

SHAPE = (3, wire.SIDE, wire.SIDE)


def message(values=2, faces=1, epsilon=8, model="apf", seed=0):
    codes = torch.randint(0, values, (faces, *SHAPE), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return wire.Message(model, Grid(epsilon, values), codes)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 256),
    st.integers(1, 3),
    st.integers(1, wire.LARGEST),
    st.from_regex(wire.NAME.pattern.decode(), fullmatch=True, alphabet=st.characters(codec="ascii")),
    st.integers(0, 9),
)
def test_comes_back_as_it_was_sent(values, faces, epsilon, model, seed):
    sent = message(values, faces, epsilon, model, seed)
    data = bytes(sent)
    found = wire.read(data)
    assert (found.model, found.grid) == (model, Grid(epsilon, values))
    assert torch.equal(found.codes, sent.codes)
    assert len(data) == wire.Header.of(data).size == wire.size(faces, sent.grid)


@pytest.mark.parametrize(("values", "size"), [(2, 4704), (3, 9408), (4, 9408), (17, 23520), (256, 37632)])
def test_a_face_is_as_small_as_is_said(values, size):
    assert len(bytes(message(values))) == wire.HEADER + size


def test_is_laid_out_as_is_documented():
    """One face whose codes are 0, 1, 2, 3, 0, 1 ...: a byte of four such codes, the first lowest, is 0b11100100."""
    codes = torch.arange(wire.CODES).remainder(4).to(torch.uint8).reshape(1, *SHAPE)
    data = bytes(wire.Message("apf", Grid(8, 4), codes))
    assert data[:44] == b"FVCL\x01\x08" + struct.pack("<HHH", 4, 1, 112) + b"apf".ljust(32, b"\0")
    assert data[44:] == bytes([0b11100100]) * (wire.CODES // 4)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_or_are_another_message(data):
    """Whatever happens to a message, reading it gives a message within bounds, or one kind of error."""
    bad = bytearray(bytes(message(3, 2)))
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, wire.HEADER + 9))] = data.draw(st.integers(0, 255))
    bad = bytes(bad[: data.draw(st.integers(0, len(bad)))] if data.draw(st.booleans()) else bad)
    try:
        found = wire.read(bad)
    except wire.WireError as error:
        assert "\n" not in str(error)
    else:
        assert int(found.codes.max()) < found.grid.values
        assert bytes(found) == bad


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_no_message(data):
    with pytest.raises(wire.WireError):
        wire.read(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((0, b"PNG!"), "begins with FVCL"),
        ((4, b"\2"), "version 2"),
        ((5, b"\0"), "epsilon is 0"),
        ((5, b"\xff"), "epsilon is 255"),
        ((6, b"\1\0"), "1 values"),
        ((6, b"\1\1"), "257 values"),
        ((8, b"\0\0"), "no face"),
        ((8, b"\xff\xff"), "65535 faces have"),
        ((10, b"\xe0\0"), "224 pixels"),
        ((12, b"A"), "name"),
        ((14, b"\0x"), "name"),
        ((44, b"\xff"), "a code is 3"),
    ],
)
def test_says_what_is_wrong(change, said):
    at, wrong = change
    data = bytearray(bytes(message(3)))
    data[at : at + len(wrong)] = wrong
    with pytest.raises(wire.WireError, match=said):
        wire.read(bytes(data))


@pytest.mark.parametrize("wrong", [{"model": "A"}, {"model": ""}, {"epsilon": 33}, {"epsilon": 7.5}])
def test_sends_nothing_that_could_not_be_read(wrong):
    with pytest.raises(wire.WireError):
        bytes(message(**wrong))


def test_sends_faces_of_one_size_only():
    with pytest.raises(wire.WireError, match="send"):
        bytes(wire.Message("apf", Grid(8, 2), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)))
