"""The shared training loop: on a regression whose answer is known."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from faceveil.errors import SettingError
from faceveil.training import Engine, Examples, Learner, digest, from_0, positive, train

DATA = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
TRUTH = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])


def learner(seed=0):
    torch.manual_seed(seed)
    module = nn.Linear(5, 1)
    return {"line": Learner(module, torch.optim.Adam(module.parameters(), lr=0.05))}


def step(shop, batch):
    """Squared errors on inputs with noise, so that what is drawn matters."""
    noisy = batch + 0.01 * torch.randn(batch.shape, generator=shop.generator)
    loss = (shop.modules["line"](noisy)[:, 0] - batch @ TRUTH).square().mean()
    shop.descend("line", loss)
    return {"error": loss}


def read(chosen):
    return DATA[torch.from_numpy(chosen)]


def run(folder, epochs, learners=None, told="", **settings):
    learners, examples = learners or learner(), Examples(64, read, told)
    history = train(
        learners, step, examples, folder, epochs=epochs, **{"batch": 16, "engine": Engine("cpu")} | settings
    )
    return learners["line"].module, history


def test_finds_the_line(tmp_path):
    module, history = run(tmp_path, 60)
    assert torch.allclose(module.weight[0], TRUTH, atol=0.05)
    assert history[-1]["error"] < 0.01 < history[0]["error"]


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path):
    whole, told = run(tmp_path / "whole", 4)
    run(tmp_path / "stopped", 2)
    resumed, again = run(tmp_path / "stopped", 4, learner(seed=9))
    assert torch.equal(whole.weight, resumed.weight)
    assert told == again


def test_a_step_that_fails_leaves_the_epoch_before(tmp_path):
    def dies(shop, batch):
        if shop.epoch == 3:
            raise KeyboardInterrupt
        return step(shop, batch)

    with pytest.raises(KeyboardInterrupt):
        train(learner(), dies, Examples(64, read), tmp_path, epochs=4, batch=16, engine=Engine("cpu"))
    assert torch.equal(run(tmp_path, 4)[0].weight, run(tmp_path / "whole", 4)[0].weight)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["settings"] == {
        "batch": 16,
        "seed": 0,
        "precision": "32-true",
        "data": "",
    }


def test_another_seed_shows_another_order(tmp_path):
    assert not torch.equal(run(tmp_path / "0", 1)[0].weight, run(tmp_path / "1", 1, seed=1)[0].weight)


@pytest.mark.parametrize(("count", "sizes"), [(64, [16] * 4), (40, [16, 16]), (9, [9])])
def test_each_epoch_shows_whole_batches_in_an_order_of_its_own(tmp_path, count, sizes):
    seen = []

    def watch(chosen):
        seen.append(chosen)
        return read(chosen)

    train(learner(), step, Examples(count, watch), tmp_path, epochs=2, batch=16, engine=Engine("cpu"))
    assert [len(chosen) for chosen in seen] == 2 * sizes
    first, second = (np.concatenate(some).tolist() for some in (seen[: len(sizes)], seen[len(sizes) :]))
    assert first != second
    assert all(len(set(each)) == sum(sizes) and set(each) <= set(range(count)) for each in (first, second))


def test_what_is_drawn_differs_from_epoch_to_epoch_and_not_where_a_run_goes_on(tmp_path):
    """Of the step's own generator, and of torch's, as by dropout."""

    def draws(folder, *epochs):
        drawn = []

        def draw(shop, batch):
            drawn.append((float(torch.rand((), generator=shop.generator)), float(torch.rand(()))))
            return {"error": batch.sum()}

        for until in epochs:
            torch.manual_seed(until)
            train(learner(until), draw, Examples(64, read), folder, epochs=until, batch=64, engine=Engine("cpu"))
        return drawn

    whole = draws(tmp_path / "whole", 3)
    assert draws(tmp_path / "parts", 1, 3) == whole
    assert all(len(set(each)) == 3 for each in zip(*whole, strict=True))


def test_modules_learn_in_training_and_are_judged_in_use(tmp_path):
    learners, modes = learner(), []

    def watch(shop, batch):
        modes.append(shop.modules["line"].training)
        return step(shop, batch)

    def judge(epoch):
        modes.append(learners["line"].module.training)
        return {}

    train(learners, watch, Examples(64, read), tmp_path, epochs=2, batch=32, engine=Engine("cpu"), judge=judge)
    assert modes == [True, True, False] * 2


def test_an_epoch_s_figure_is_the_mean_of_its_batches_losses(tmp_path):
    losses = iter([1.0, 2.0, 6.0, 7.0])
    history = train(
        learner(),
        lambda shop, batch: {"error": torch.tensor(next(losses))},
        Examples(64, read),
        tmp_path,
        epochs=1,
        batch=16,
        engine=Engine("cpu"),
    )
    assert history == [{"error": 4.0}]


def test_trains_in_mixed_precision(tmp_path):
    module, _ = run(tmp_path, 60, engine=Engine("cpu", "bf16-mixed"))
    assert module.weight.dtype == torch.float32
    assert torch.allclose(module.weight[0], TRUTH, atol=0.2)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder in which two devices did what `main` does."""
    folder = tmp_path_factory.mktemp("two")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [sys.executable, *launch, __file__, str(folder)]
    finished = subprocess.run(script, check=False, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    return folder


def found(two):
    """What both devices found, the same."""
    told, same = (json.loads((two / f"{rank}.json").read_text("utf-8")) for rank in (0, 1))
    assert told == same
    return told


def test_two_devices_learn_as_one(two, tmp_path):
    """Each sees half of every batch; the gradient of their mean loss is that of the whole batch, but for the noise.

    They find the same figures, and both stop where one of them finds a loss that is no number.
    """
    state = torch.load(two / "two" / "checkpoint.pt", weights_only=True)
    alone, history = run(tmp_path, 2)
    assert torch.allclose(state["modules"]["line"]["weight"], alone.weight, atol=5e-3)
    told = found(two)
    assert told["history"] == [{"error": pytest.approx(each["error"], rel=0.02)} for each in history]
    assert "lower the learning rate" in told["burst"]


def test_machines_with_folders_of_their_own_do_not_go_on(two):
    """Only the first one's folder has a checkpoint; both stop, and it stays as it was."""
    assert "all machines need the same folder" in found(two)["apart"]
    assert "holds 0 epochs on one, 1 on another" in found(two)["apart"]
    assert len(torch.load(two / "0" / "own" / "checkpoint.pt", weights_only=True)["history"]) == 1
    assert not (two / "1" / "own" / "checkpoint.pt").exists()


def test_more_epochs_than_asked_for_are_not_passed_off_as_fewer(tmp_path):
    kept, _ = run(tmp_path, 2)
    with pytest.raises(
        SettingError, match="has learned for 2 epochs already, not 1; ask for 2 or more, choose another folder"
    ):
        run(tmp_path, 1)
    assert torch.equal(run(tmp_path, 2)[0].weight, kept.weight)


def test_one_gpu_of_several_is_named_by_the_environment():
    """Lightning counts GPUs, from the first that there is; what it does not train would lie on another."""
    with pytest.raises(SettingError, match="training is on cuda, not cuda:1; CUDA_VISIBLE_DEVICES"):
        Engine("cuda:1")


def test_sixteen_bits_need_a_gpu():
    """On a CPU, Lightning would take bfloat16, and checkpoints and commands would tell otherwise."""
    with pytest.raises(SettingError, match="16-mixed needs a GPU; on a CPU take bf16-mixed"):
        Engine("cpu", "16-mixed")


@pytest.mark.parametrize(
    ("earlier", "later", "found"),
    [
        ({"width": 8}, {"width": 16}, "width 8, not 16"),
        ({"told": "photos"}, {"told": "others"}, "data 'photos', not 'others'"),
        ({}, {"engine": Engine("cpu", "bf16-mixed")}, "precision '32-true', not 'bf16-mixed'"),
    ],
    ids=["settings", "examples", "precision"],
)
def test_another_run_s_folder_is_left_alone(earlier, later, found, tmp_path):
    run(tmp_path, 1, **earlier)
    with pytest.raises(SettingError, match=found):
        run(tmp_path, 2, **later)


def test_a_digest_tells_arrays_order_weights_and_values_apart():
    parts = [[DATA.numpy()], [DATA.flip(0).numpy()], [learner(0)["line"].module], [learner(1)["line"].module], [1, "a"]]
    assert len({digest(each) for each in parts}) == len(parts)
    assert digest([learner(0)["line"].module]) == digest([learner(0)["line"].module])


@pytest.mark.parametrize(("check", "least"), [(positive, "more than 0"), (from_0, "0 or more")])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (-1, "-1"),
        (np.nan, "nan"),
        *((far, "too far from 0") for far in (2**63, np.inf, -np.inf)),
    ],
)
def test_a_number_that_makes_no_sense_is_named(check, least, value, found):
    with pytest.raises(SettingError, match=f"^width is {found}; choose {least}"):
        check(rate=1e-9, width=value, batch=-1)


def test_0_is_from_0_and_not_positive():
    from_0(seed=0, size=0.0)
    with pytest.raises(SettingError, match="rate is 0; choose more than 0"):
        positive(rate=0.0)


def test_a_damaged_checkpoint_says_so(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"junk")
    with pytest.raises(SettingError, match="no checkpoint of this run"):
        run(tmp_path, 1)


def test_a_checkpoint_of_another_module_says_so(tmp_path):
    run(tmp_path, 1)
    module = nn.Linear(4, 1)
    with pytest.raises(SettingError, match="no checkpoint of this run"):
        run(tmp_path, 2, {"line": Learner(module, torch.optim.Adam(module.parameters()))})


def test_a_loss_that_is_no_number_stops_it(tmp_path):
    def burst(shop, batch):
        return {"error": batch.sum() * np.nan}

    with pytest.raises(SettingError, match="lower the learning rate"):
        train(learner(), burst, Examples(64, read), tmp_path, epochs=1, batch=16, engine=Engine("cpu"))
    assert not list(tmp_path.iterdir())


def test_judges_after_each_epoch(tmp_path):
    _, history = run(tmp_path, 2, judge=lambda epoch: {"judged": 10.0 * epoch})
    assert [figures["judged"] for figures in history] == [10.0, 20.0]


def main(folder):
    """As one of the two devices; writes what it finds."""

    def burst(shop, batch):
        return {"error": batch.sum() * (np.nan if shop.fabric.global_rank else 1)}

    told = {"history": run(folder / "two", 2)[1]}
    try:
        train(learner(), burst, Examples(64, read), folder / "burst", epochs=1, batch=16, engine=Engine("cpu"))
    except SettingError as error:
        told["burst"] = str(error)
    own = folder / os.environ["RANK"] / "own"
    run(own, 1)
    try:
        run(own, 2)
    except SettingError as error:
        told["apart"] = str(error).replace(str(own), "")
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(told), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_learned(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"run cannot be written \(.*\); choose another folder$"):
        train(learner(), step, Examples(0, read, ""), tmp_path / "file" / "run", epochs=1, batch=8)
