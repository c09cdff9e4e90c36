import copyreg
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import tomllib
import tracemalloc
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from safetensors.torch import save, save_file
from torch import nn

from faceveil.errors import WeightsError
from faceveil.recognizers import checkpoint
from faceveil.recognizers.folding import fold

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1.5])}


def same(found):
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def mxnet(tensors):
    """The NDArray list, from the description in MXNet's source (src/ndarray/ndarray.cc)."""
    data = struct.pack("<QQQ", 0x112, 0, len(tensors))
    for tensor in tensors.values():
        data += struct.pack("<IiI", 0xF993FAC9, 0, tensor.ndim) + struct.pack(f"<{tensor.ndim}q", *tensor.shape)
        data += struct.pack("<iii", 1, 0, 0) + tensor.numpy().astype("<f4").tobytes()
    data += struct.pack("<Q", len(tensors))
    for name in tensors:
        data += struct.pack("<Q", len(name) + 4) + f"arg:{name}".encode()
    return data


def test_reads_safetensors_in_half_precision_as_float32(tmp_path):
    save_file({name: tensor.half() for name, tensor in TENSORS.items()}, tmp_path / "x")
    assert same(checkpoint.tensors(tmp_path / "x"))


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_a_training_checkpoint_of_a_parallel_network(tmp_path, zipped):
    state = {f"module.{name}": tensor for name, tensor in TENSORS.items()}
    state["module.norm.num_batches_tracked"] = torch.tensor(7)
    torch.save({"epoch": 3, "net_state_dict": state}, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    assert same(checkpoint.tensors(tmp_path / "x"))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
@pytest.mark.parametrize("beside", [{}, {"epoch": 3, "loss": 0.5, "of": "faces", "best": None, "done": True}])
def test_reads_a_pickled_dictionary_of_arrays_and_leaves_plain_values_out(tmp_path, protocol, beside):
    arrays = {name: tensor.numpy() for name, tensor in TENSORS.items()}
    (tmp_path / "x").write_bytes(pickle.dumps(beside | arrays, protocol))
    assert same(checkpoint.tensors(tmp_path / "x"))


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("names", [[0], [0, 1, -3, "a", 2**70]], ids=["one", "many"])  # other opcodes
def test_reads_arrays_that_whole_numbers_name(tmp_path, protocol, names):
    arrays = {name: np.float32([number, -2]) for number, name in enumerate(names)}
    (tmp_path / "x").write_bytes(pickle.dumps(arrays, protocol))
    found = {name: tensor.tolist() for name, tensor in checkpoint.tensors(tmp_path / "x").items()}
    assert found == {str(name): [number, -2] for number, name in enumerate(names)}


@pytest.mark.parametrize("name", [True, None, 1.5, b"a", ("a",)])
def test_arrays_that_anything_else_names_are_refused_with_what_to_do(tmp_path, name):
    (tmp_path / "x").write_bytes(pickle.dumps({name: np.float32([1])}, 4))
    with pytest.raises(WeightsError, match="keys that are neither text nor whole numbers; name arrays by text"):
        checkpoint.tensors(tmp_path / "x")


def test_a_name_of_too_many_digits_is_one_plain_error(tmp_path):
    (tmp_path / "x").write_bytes(pickle.dumps({10**5000: np.float32([1])}, 4))
    with pytest.raises(WeightsError, match="digits"):
        checkpoint.tensors(tmp_path / "x")


def test_a_pickle_chooses_no_number_that_is_hashed():
    """Numbers can be found that all have one hash: a dictionary of many takes their square in time."""
    step = 2**61 - 1
    assert hash(step) == hash(2 * step)
    content = b"(dI%d\nI1\nsp%d\ng%d\n." % (step, step, step)
    machine = checkpoint._Unpickler(io.BytesIO(content))
    assert machine.load() == {str(step): 1}
    assert list(machine.memo) == [b"%d\n" % step]


WIDTHS = ["f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8"]


@pytest.mark.parametrize("kind", ["b1", "i1", "u1", *(order + width for order in "<>" for width in WIDTHS)])
def test_reads_pickled_numbers_of_any_width_and_order(tmp_path, kind):
    rows = np.arange(6).reshape(2, 3).astype(kind)
    (tmp_path / "x").write_bytes(pickle.dumps({"c": rows, "f": np.asfortranarray(rows), "one": rows[1, 2, ...]}, 2))
    found = checkpoint.tensors(tmp_path / "x")
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    expected = [[False, True, True], [True, True, True]] if kind == "b1" else [[0, 1, 2], [3, 4, 5]]
    assert {name: t.tolist() for name, t in found.items()} == {"c": expected, "f": expected, "one": expected[1][2]}


def test_reads_the_largest_and_the_least_of_pickled_numbers_as_pytorch_does(tmp_path):
    numbers = {"u8": np.uint64([2**64 - 1]), "i1": np.int8([-128]), "f8": np.float64([1e300, np.nan])}
    (tmp_path / "x").write_bytes(pickle.dumps(numbers, 4))
    found = {name: tensor.tolist() for name, tensor in checkpoint.tensors(tmp_path / "x").items()}
    assert found == {"u8": [2.0**64], "i1": [-128], "f8": [np.inf, pytest.approx(np.nan, nan_ok=True)]}


class Told:
    """Pickled as a call and the state that its result is given."""

    def __init__(self, *told):
        self.told = told

    def __reduce__(self):
        return self.told


def dtype(code, *state):
    return Told(np.dtype, (code, False, True), state)


def array(of, raw, shape=(2,)):
    return Told(np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, shape, of, False, raw))


PLAIN = (3, "<", None, None, None, -1, -1, 0)
OBJECTS = (4, "|", None, ("f",), {"f": (np.dtype("O"), 0)}, 8, 1, 0, {})  # and no flag that tells of objects


def test_reads_an_array_of_python_2_whose_bytes_are_text(tmp_path):
    raw = np.float32([1.5, -2]).tobytes()
    (tmp_path / "x").write_bytes(pickle.dumps({"a": array(dtype("f4", *PLAIN), raw.decode("latin1"))}, 2))
    assert checkpoint.tensors(tmp_path / "x")["a"].tolist() == [1.5, -2]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (array(dtype("V8", *OBJECTS), b"A" * 8, (1,)), "of the kind '|V8'"),  # NumPy would follow the address AAAAAAAA
        (array(np.dtype("V8"), b"A" * 16), "of the kind '|V8'"),
        (array(np.dtype("O"), [1, 2]), "an array without bytes"),
        (array(np.dtype("c8"), bytes(16)), "of the kind '<c8'; save them as float32"),
        (array(dtype("f4", 3, "O,<"), bytes(8)), "of the kind 'O,<f4'"),
        (array("f4", bytes(8)), "an array of no known numbers"),
        (array(np.dtype("f4"), bytes(7)), "multiple of element size"),
        (array(np.dtype("f4"), bytes(12)), "array of size 3 into shape (2,)"),
        (array(np.dtype("f4"), bytes(8), (-1,)), "8 bytes are no array of the shape (-1,)"),
        (array(np.dtype("f4"), bytes(8), (10**9, [1])), "cannot be interpreted as an integer"),
        (np.dtype("f4"), "no array of numbers; leave it out"),
        ([np.float32([1])], "no array of numbers; leave it out"),
        ({"b": np.float32([1])}, "no array of numbers; leave it out"),
    ],
)
def test_a_forged_array_is_one_plain_error_that_names_it(tmp_path, content, fault):
    (tmp_path / "x").write_bytes(pickle.dumps({"a": content}, 2))
    with pytest.raises(WeightsError, match=rf"safely \('a': .*{re.escape(fault)}"):
        checkpoint.tensors(tmp_path / "x")


@contextmanager
def memory_of_at_most(most):
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most


@pytest.mark.parametrize(
    ("opcode", "number"),
    [
        *((opcode, "<Q") for opcode in (pickle.BYTEARRAY8, pickle.BINBYTES8, pickle.BINUNICODE8, pickle.FRAME)),
        *((opcode, "<I") for opcode in (pickle.BINBYTES, pickle.BINUNICODE, pickle.BINSTRING, pickle.LONG4)),
        (pickle.EMPTY_DICT + pickle.LONG_BINPUT, "<I"),
    ],
)
def test_a_pickle_takes_no_memory_for_what_it_says_it_has_and_has_not(tmp_path, opcode, number):
    (tmp_path / "x").write_bytes(b"\x80\x05" + opcode + struct.pack(number, 300_000_000) + pickle.STOP)
    with memory_of_at_most(10**6), pytest.raises(WeightsError, match="safely"):
        checkpoint.tensors(tmp_path / "x")


@pytest.mark.parametrize("protocol", [2, 4])  # as text and as bytes
def test_arrays_that_share_their_bytes_take_no_more_than_a_few_times_the_file(tmp_path, protocol):
    raw = bytes(10**5)
    few, many = ({f"{i}": array(np.dtype("f4"), raw, (25_000,)) for i in range(count)} for count in (2, 500))
    (tmp_path / "few").write_bytes(pickle.dumps(few, protocol))
    assert [tuple(tensor.shape) for tensor in checkpoint.tensors(tmp_path / "few").values()] == [(25_000,)] * 2
    (tmp_path / "many").write_bytes(pickle.dumps(many, protocol))
    with (
        memory_of_at_most(20 * (tmp_path / "many").stat().st_size),
        pytest.raises(WeightsError, match=r"'\d+': too many arrays share their bytes; save each with its own"),
    ):
        checkpoint.tensors(tmp_path / "many")


@pytest.mark.parametrize("shape", [(10**8,), (100, 10**6)])
def test_a_number_that_stands_for_many_is_not_written_out(tmp_path, shape):
    torch.save({"a": torch.ones(1, dtype=torch.float64).expand(shape)}, tmp_path / "x")
    assert (tmp_path / "x").stat().st_size < 2000
    with memory_of_at_most(10**6), pytest.raises(WeightsError, match="too many arrays share their bytes"):
        checkpoint.tensors(tmp_path / "x")


def test_a_torch7_tensor_is_no_larger_than_what_it_holds(tmp_path):
    """As in torch7's File.lua: a tensor has sizes, strides, a place and a storage."""

    def text(words):
        return struct.pack("<i", len(words)) + words

    storage = struct.pack("<ii", 4, 3) + text(b"V 1") + text(b"torch.FloatStorage") + struct.pack("<qf", 1, 1.0)
    tensor = struct.pack("<ii", 4, 2) + text(b"V 1") + text(b"torch.FloatTensor") + struct.pack("<i", 1)
    tensor += struct.pack("<qqq", 10**8, 0, 1) + storage
    layer = struct.pack("<iiii", 3, 4, 1, 2) + text(b"running_std") + tensor
    (tmp_path / "x").write_bytes(struct.pack("<ii", 4, 1) + text(b"V 1") + text(b"nn.Sequential") + layer)
    with memory_of_at_most(10**6), pytest.raises(WeightsError, match="holds 1 of 100000000 numbers"):
        checkpoint.tensors(tmp_path / "x")


def doubled(kind):
    """A million words, if written out, in a few bytes of a pickle."""
    content = kind()
    for _ in range(20):
        content = kind((content, content))
    return content


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"a": array(dtype(doubled(list), *PLAIN), bytes(8))}, 2),
        pickle.dumps({"a": array(dtype("f4", 3, doubled(list)), bytes(8))}, 2),
        pickle.dumps({"a": array(np.dtype("f4"), bytes(8), {"b": doubled(list)})}, 2),
        pickle.dumps({doubled(tuple): np.float32([1])}, 2),
        pickle.dumps(doubled(list), 2)[:-1] + pickle.BININT1 + b"\1" + pickle.REDUCE + pickle.STOP,
    ],
    ids=["kind", "order", "shape", "name", "call"],
)
def test_what_a_pickle_holds_many_times_over_is_never_written_out(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with memory_of_at_most(10**6), pytest.raises(WeightsError, match="safely"):
        checkpoint.tensors(tmp_path / "x")


@pytest.mark.parametrize(
    "opcode",
    [
        *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, b"\xff"),
        *(pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS),
        *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4),
    ],
)
def test_a_pickle_of_more_than_arrays_is_refused_with_what_to_do(tmp_path, opcode):
    (tmp_path / "x").write_bytes(b"\x80\x04" + opcode)
    with pytest.raises(WeightsError, match="more than arrays; pickle a dictionary of NumPy arrays with protocol=4"):
        checkpoint.tensors(tmp_path / "x")


def test_a_pickle_calls_nothing_that_another_one_brought_in(tmp_path, monkeypatch):
    monkeypatch.setitem(copyreg._extension_cache, 240, os.mkdir)
    arguments = pickle.dumps((f"{tmp_path / 'evil'}",), 2)[2:-1]
    (tmp_path / "x").write_bytes(b"\x80\x02" + pickle.EXT1 + b"\xf0" + arguments + pickle.REDUCE + pickle.STOP)
    with pytest.raises(WeightsError, match="safely"):
        checkpoint.tensors(tmp_path / "x")
    assert not (tmp_path / "evil").exists()


def test_what_is_too_deep_to_be_hashed_crashes_nothing(tmp_path):
    deep = pickle.EMPTY_TUPLE + pickle.TUPLE1 * 300_000
    contents = {
        "SETITEM": pickle.EMPTY_DICT + deep + pickle.NONE + pickle.SETITEM,
        "SETITEMS": pickle.EMPTY_DICT + pickle.MARK + deep + pickle.NONE + pickle.SETITEMS,
        "DICT": pickle.MARK + deep + pickle.NONE + pickle.DICT,
        "ADDITEMS": pickle.EMPTY_SET + pickle.MARK + deep + pickle.ADDITEMS,
        "FROZENSET": pickle.MARK + deep + pickle.FROZENSET,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(b"\x80\x04" + content + pickle.STOP)
    script = """
import sys
from pathlib import Path

from faceveil.errors import WeightsError
from faceveil.recognizers import checkpoint

for path in map(Path, sys.argv[1:]):
    try:
        checkpoint.tensors(path)
    except WeightsError as error:
        print(path.name, error)
"""
    command = [sys.executable, "-c", script, *(str(tmp_path / name) for name in contents)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    assert told.keys() == contents.keys()
    assert all("neither text nor whole numbers" in told[name] for name in ("SETITEM", "SETITEMS", "DICT"))


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_cut_short_anywhere_says_why_it_is_refused(tmp_path, protocol):
    data = pickle.dumps({name: tensor.numpy() for name, tensor in TENSORS.items()}, protocol)
    reasons = []
    for end in range(1, len(data)):
        (tmp_path / "x").write_bytes(data[:end])
        with pytest.raises(WeightsError, match=r"safely \(.+\)$") as caught:
            checkpoint.tensors(tmp_path / "x")
        reasons.append(str(caught.value))
    assert "it ends too early" in reasons[-1]


def test_a_reason_without_words_is_the_kind_of_error(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch, "load", fails)
    (tmp_path / "x").write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"safely \(MemoryError\)"):
        checkpoint.tensors(tmp_path / "x")


def test_a_reason_repeats_a_files_words_in_plain_letters(tmp_path):
    (tmp_path / "x").write_bytes(b"\x80\x02c\x1b]0;owned\x07\nname\n.")
    with pytest.raises(WeightsError, match=r"it asks for \?\]0;owned\?\.name; pickle"):
        checkpoint.tensors(tmp_path / "x")


def test_no_pytorch_is_allowed_whose_safe_reader_could_run_code():
    """PyTorch to 2.5.1: CVE-2025-32434."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    (needed,) = (given for given in map(Requirement, project["dependencies"]) if given.name == "torch")
    assert "2.5.1" not in needed.specifier


def test_reads_an_mxnet_list(tmp_path):
    (tmp_path / "x").write_bytes(mxnet(TENSORS))
    assert same(checkpoint.tensors(tmp_path / "x"))


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["EVIL"],)


@pytest.mark.parametrize("save", [lambda x: pickle.dumps(x, 2), lambda x: pickle.dumps({"a": x}, 4)])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch, save):
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    (tmp_path / "x").write_bytes(save(Evil()))
    with pytest.raises(WeightsError, match="safely"):
        checkpoint.tensors(tmp_path / "x")
    torch.save({"a": Evil()}, tmp_path / "y")
    with pytest.raises(WeightsError, match="safely"):
        checkpoint.tensors(tmp_path / "y")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 broken", b"\x12\x01" + bytes(40)[:20]])
def test_anything_else_is_one_plain_error(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(WeightsError, match="x holds no tensors that can be read safely"):
        checkpoint.tensors(tmp_path / "x")


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.before = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.rest = nn.Sequential(nn.PReLU(4), nn.Flatten(), nn.Linear(4 * 25, 6), nn.BatchNorm1d(6))

    def forward(self, x):
        return self.rest(self.norm(self.conv(self.before(x))))


def test_folding_keeps_the_numbers_and_loses_the_normalizations():
    torch.manual_seed(0)
    network, x = Network(), torch.randn(8, 3, 5, 5)
    for _ in range(3):
        network(x * 2 + 1)
    expected = network.eval()(x)
    folded = fold(network)
    assert (folded(x) - expected).abs().max() < 1e-5
    assert [type(m).__name__ for m in folded.modules()].count("BatchNorm2d") == 1
    assert np.all([not isinstance(m, nn.BatchNorm1d) for m in folded.modules()])


def t7(network, numbers=None):
    """A Torch 7 file, from the description in torch7's File.lua, of tables, tensors and classes."""
    numbers = numbers if numbers is not None else iter(range(1, 10**6))
    if isinstance(network, str):
        return struct.pack("<ii", 2, len(network)) + network.encode()
    if isinstance(network, (int, float)):
        return struct.pack("<id", 1, network)
    if isinstance(network, torch.Tensor):
        data = struct.pack("<ii", 4, next(numbers)) + b"".join(t7(s)[4:] for s in ("V 1", "torch.FloatTensor"))
        data += struct.pack("<i", network.ndim) + struct.pack(f"<{network.ndim}q", *network.shape)
        data += struct.pack(f"<{network.ndim}q", *network.stride()) + struct.pack("<q", 1)
        data += struct.pack("<ii", 4, next(numbers)) + b"".join(t7(s)[4:] for s in ("V 1", "torch.FloatStorage"))
        return data + struct.pack("<q", network.numel()) + network.numpy().tobytes()
    if "class" in network:
        fields = {key: value for key, value in network.items() if key != "class"}
        data = struct.pack("<ii", 4, next(numbers)) + b"".join(t7(s)[4:] for s in ("V 1", network["class"]))
        return data + t7(fields, numbers)
    data = struct.pack("<iii", 3, next(numbers), len(network))
    return data + b"".join(t7(key) + t7(value, numbers) for key, value in network.items())


def test_reads_a_torch7_network_in_the_order_of_its_layers(tmp_path):
    def layer(kind, **fields):
        return {"class": f"nn.{kind}", "train": 0.0, **fields}

    linear = layer("Linear", bias=torch.arange(2.0), weight=torch.arange(6.0).reshape(2, 3))
    inner = layer("Inception", modules={2: layer("ReLU"), 1: linear})
    norm = layer("SpatialBatchNormalization", weight=torch.ones(2), running_var=torch.full((2,), 3.0), eps=1e-5)
    old = layer("SpatialBatchNormalization", running_std=torch.full((2,), 0.5), eps=1e-5)
    modules = {1: inner, 2: norm, 3: old}
    (tmp_path / "x").write_bytes(t7(layer("Sequential", modules=modules, gradInput=torch.zeros(1))))
    found = checkpoint.tensors(tmp_path / "x")
    assert list(found) == ["1.1.weight", "1.1.bias", "2.weight", "2.running_var", "3.running_var"]
    assert torch.equal(found["1.1.weight"], torch.arange(6.0).reshape(2, 3))
    assert found["2.running_var"].tolist() == [3.0, 3.0]
    assert found["3.running_var"].tolist() == pytest.approx([4 - 1e-5, 4 - 1e-5])


@pytest.mark.parametrize(
    "content",
    [*(pickle.dumps(x, 2) for x in ([1, 2], {}, {"a": 1})), pickle.dumps({"a": 1}, 2)[:-2], b"\x01" * 8 + b"{}"],
)
def test_other_things_in_a_known_container_are_one_plain_error(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(WeightsError, match="x holds no tensors"):
        checkpoint.tensors(tmp_path / "x")


@given(st.sampled_from(["safetensors", "mxnet", "torch7", "pytorch", "numpy"]), st.integers(0), st.integers(0, 255))
def test_a_changed_byte_or_a_missing_end_is_read_or_refused(tmp_path_factory, kind, at, byte):
    stream = io.BytesIO()
    torch.save(TENSORS, stream)
    network = {"class": "nn.Linear", "weight": TENSORS["a.weight"]}
    whole = {"safetensors": save(TENSORS), "mxnet": mxnet(TENSORS), "torch7": t7(network), "pytorch": stream.getvalue()}
    whole["numpy"] = pickle.dumps({name: tensor.numpy() for name, tensor in TENSORS.items()}, 2)
    data = bytearray(whole[kind])
    data[at % len(data)] = byte
    path = tmp_path_factory.mktemp("fuzz") / "x"
    for content in (data, data[: at % len(data)]):
        path.write_bytes(content)
        with suppress(WeightsError):
            checkpoint.tensors(path)


def test_a_compressed_checkpoint_is_not_unpacked(tmp_path):
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(1 << 20)}, stream)
    with ZipFile(stream) as plain, ZipFile(tmp_path / "x.pt", "w", ZIP_DEFLATED) as packed:
        for part in plain.infolist():
            packed.writestr(part.filename, plain.read(part.filename))
    with pytest.raises(WeightsError, match=r"it is compressed; save it with torch\.save"):
        checkpoint.tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("tensor", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")])
def test_a_checkpoint_holds_all_its_numbers(tmp_path, tensor):
    torch.save({"a": tensor}, tmp_path / "x.pt")
    with pytest.raises(WeightsError):
        checkpoint.tensors(tmp_path / "x.pt")


def test_a_torch7_layer_stands_in_one_place(tmp_path):
    def module(depth):
        """A module of two that are one, of two that are one ..."""
        number = 2 * depth + 1
        if not depth:
            return struct.pack("<iii", 3, number, 0)
        parts = struct.pack("<id", 1, 1) + module(depth - 1) + struct.pack("<idii", 1, 2, 3, number - 2)
        key = struct.pack("<ii", 2, 7) + b"modules"
        return struct.pack("<iii", 3, number, 1) + key + struct.pack("<iii", 3, number + 1, 2) + parts

    (tmp_path / "x.t7").write_bytes(struct.pack("<iii", 4, 9999, 1) + b"x" + module(60))
    with pytest.raises(WeightsError, match="one of its layers stands in two places"):
        checkpoint.tensors(tmp_path / "x.t7")
