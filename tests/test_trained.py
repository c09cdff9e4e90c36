import json

import pytest
import torch
from torch import nn

from faceveil import trained
from faceveil.errors import WeightsError


@pytest.fixture
def written(tmp_path):
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    path = tmp_path / "line.safetensors"
    trained.write(
        trained.Trained(
            module.state_dict(), {"in_features": 3, "out_features": 2}, {"command": "here", "servers": ["toy-9"]}
        ),
        path,
    )
    return module, path


def test_a_module_comes_back_in_half_precision(written):
    module, path = written
    again = trained.read(path)
    assert (again.recipe["command"], again.servers) == ("here", ("toy-9",))
    assert torch.equal(again.build(nn.Linear).weight, module.weight.half().float())
    assert not again.build(nn.Linear).weight.requires_grad


def test_a_file_that_was_changed_is_refused(written):
    _, path = written
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"not the file that line\.json tells of"):
        trained.read(path)


def test_tensors_of_another_module_are_refused(written):
    _, path = written
    note = json.loads(path.with_suffix(".json").read_text("utf-8"))
    path.with_suffix(".json").write_text(json.dumps(note | {"options": {"in_features": 4, "out_features": 2}}))
    with pytest.raises(WeightsError, match=r"is no Linear \(.*\); give another module$") as refused:
        trained.read(path).build(nn.Linear)
    assert len(str(refused.value)) < 180  # PyTorch names every tensor
    with pytest.raises(WeightsError, match="unexpected keyword argument"):
        trained.read(path).build(nn.ReLU)


@pytest.mark.parametrize("name", ["nothing", "nothing.safetensors", ""])
def test_what_is_not_there_is_named(name):
    with pytest.raises(WeightsError, match="neither a file of safetensors"):
        trained.read(name)


def test_a_note_without_what_it_must_say_is_refused(written):
    _, path = written
    told = json.loads(path.with_suffix(".json").read_text("utf-8"))
    recipes = ({}, None, *({"servers": servers} for servers in (None, [1], "dlib")))
    for note in ("[]", "{}", "junk", '{"sha256": 1}', *(json.dumps(told | {"recipe": each}) for each in recipes)):
        path.with_suffix(".json").write_text(note)
        with pytest.raises(WeightsError):
            trained.read(path)


@pytest.mark.parametrize("name", trained.names())
def test_what_ships_is_small_and_tells_how_it_was_made(name):
    kept = trained.read(name)
    assert sum(tensor.numel() for tensor in kept.tensors.values()) * 2 < 10e6
    assert {"command", "minutes"} <= set(kept.recipe)
