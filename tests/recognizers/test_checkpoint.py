import io
import os
import pickle
import re
import struct
import tomllib
import tracemalloc
from contextlib import suppress
from pathlib import Path

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


def test_reads_a_pickled_dictionary_of_arrays(tmp_path):
    arrays = {name: tensor.numpy() for name, tensor in TENSORS.items()}
    (tmp_path / "x").write_bytes(pickle.dumps(arrays, protocol=2))
    assert same(checkpoint.tensors(tmp_path / "x"))


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<i4", ">i4", "<i8", ">i8", "u1"])
def test_reads_pickled_numbers_of_any_width_and_order(tmp_path, kind):
    rows = np.arange(6).reshape(2, 3).astype(kind)
    (tmp_path / "x").write_bytes(pickle.dumps({"c": rows, "f": np.asfortranarray(rows), "one": rows[1, 2, ...]}, 2))
    found = {name: tensor.tolist() for name, tensor in checkpoint.tensors(tmp_path / "x").items()}
    assert found == {"c": [[0, 1, 2], [3, 4, 5]], "f": [[0, 1, 2], [3, 4, 5]], "one": 5}


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
        (array(dtype("V8", *OBJECTS), b"A" * 8, (1,)), "of the kind '|O8'"),  # NumPy would follow the address AAAAAAAA
        (array(np.dtype("V8"), b"A" * 16), "of the kind '|V8'"),
        (array(dtype("f4", 3, "O,<"), bytes(8)), "of the kind 'O,<f4'"),
        (array("f4", bytes(8)), "no attribute 'kind'"),
        (array(np.dtype("f4"), bytes(7)), "multiple of element size"),
        (array(np.dtype("f4"), bytes(12)), "array of size 3 into shape (2,)"),
        (array(np.dtype("f4"), bytes(8), (-1,)), "8 bytes are no array of the shape (-1,)"),
        (array(np.dtype("f4"), bytes(8), (10**9, [1])), "cannot be interpreted as an integer"),
        (np.dtype("f4"), "no attribute 'numbers'"),
    ],
)
def test_a_forged_array_is_one_plain_error(tmp_path, content, fault):
    (tmp_path / "x").write_bytes(pickle.dumps({"a": content}, 2))
    with pytest.raises(WeightsError, match=f"safely .*{re.escape(fault)}"):
        checkpoint.tensors(tmp_path / "x")


def test_a_pickle_takes_no_memory_for_objects_that_it_does_not_have(tmp_path):
    one_as_the_ten_millionth = b"\x80\x02}r" + struct.pack("<I", 10**7) + b"."
    (tmp_path / "x").write_bytes(one_as_the_ten_millionth)
    tracemalloc.start()
    found = checkpoint.tensors(tmp_path / "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {}
    assert peak < 10**6


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


@pytest.mark.parametrize("content", [pickle.dumps([1, 2], 2), pickle.dumps({"a": 1}, 2)[:-2], b"\x01" * 8 + b"{}"])
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
