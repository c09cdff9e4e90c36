"""`faceveil train`: what learns before it cloaks."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PureWindowsPath
from shlex import join
from subprocess import list2cmdline
from typing import Annotated

import numpy as np
import typer

from faceveil import __version__, datasets, recognizers, trained
from faceveil.cli.report import fail, tell_missing, watch
from faceveil.datasets import Faces
from faceveil.device import choose
from faceveil.errors import SettingError
from faceveil.files import one_line
from faceveil.methods.advfaces import Learning as AdvFaces
from faceveil.methods.advfaces import learn as learn_advfaces
from faceveil.methods.apf.learning import Learning as Apf
from faceveil.methods.apf.learning import Lesson, pairs
from faceveil.methods.latent import Learning as Latent
from faceveil.methods.latent import learn as learn_latent
from faceveil.recognizers import Recognizer
from faceveil.training import Engine, Examples, Indices, digest

app = typer.Typer(no_args_is_help=True)

TEMPLATE, SIZE = "arcface", (112, 112)
APF, ADVFACES, LATENT = Apf(), AdvFaces(), Latent()  # whose numbers are the defaults

Data = Annotated[str, typer.Option(help="A data set of people: PATH, or the name of one prepared.", show_default=False)]
Photos = Annotated[int, typer.Option(min=2, help="The first photos of each person, this many at most.")]
Without = Annotated[
    Path | None, typer.Option(help="A file of people who stay out, a name on each line.", show_default=False)
]
Server = Annotated[list[str], typer.Option(help="Recognizers to learn to fool (may be repeated).", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="The folder for checkpoints and what is learned.")]
Epochs = Annotated[int, typer.Option(min=1, help="How often each photo is seen.")]
Batch = Annotated[int, typer.Option(min=1, help="Photos that are learned from together.")]
Rate = Annotated[float, typer.Option(help="The learning rate.")]
Precision = Annotated[str, typer.Option(help="32-true, bf16-mixed or, on a GPU, 16-mixed.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed, another order.")]


@app.callback()
def train() -> None:
    """Train what cloaks without a look at a recognizer, or a recognizer itself.

    A run that was stopped goes on when it is given the same command. Several devices or machines: start it by torchrun,
    as in torchrun --nproc-per-node 4 -m faceveil train apf ...
    """


@app.command()
def apf(
    data: Data,
    server: Server,
    output: Output,
    probe: Annotated[str, typer.Option(help="The device's recognizer.")] = "mobilefacenet-foamliu",
    photos: Photos = 50,
    without: Without = None,
    width: Annotated[
        int, typer.Option(min=1, help="Channels of the U-Net's first stage; the last has 8 times as many.")
    ] = APF.width,
    epsilon: Annotated[float, typer.Option(help="8-bit levels.")] = APF.epsilon,
    values: Annotated[int, typer.Option(help="How many values a number of a gradient has on its way; 0: any.")] = 2,
    own: Annotated[bool, typer.Option(help="Gradients lead away from the photo itself, or an enrolled one.")] = True,
    enhanced: Annotated[bool, typer.Option(help="With the universal perturbation, or without.")] = APF.enhanced,
    attack: Annotated[str, typer.Option(help="fgsm, i-fgsm, mi-fgsm, di2 or m-di2.")] = APF.attack,
    steps: Annotated[int, typer.Option(min=1, help="Of the attack.")] = APF.steps,
    ascents: Annotated[int, typer.Option(min=1, help="Steps to the universal perturbation.")] = APF.ascents,
    transfers: Annotated[
        int, typer.Option(min=0, help="Epochs of learning the servers' gradients, which come first.")
    ] = APF.transfers,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of learning to fool the servers.")] = APF.epochs,
    batch: Batch = APF.batch,
    rate: Rate = APF.rate,
    precision: Precision = "32-true",
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Train APF's cloud: gradients of the probe in, noise that fools servers out.

    The numbers are the paper's where it has any; --width and --epochs are its code's, --ascents, --transfers, --values
    and --own ours.

    Writes OUTPUT/apf.safetensors and apf.json, for faceveil protect --method apf and faceveil serve.

    Example: faceveil train apf --data ~/faces --server facenet --server dlib -o out/apf
    """
    learning = Apf(width, epsilon, enhanced, values, own, attack, steps, ascents, transfers, epochs, batch, rate, seed)
    material = _Material.of(data, photos, without, server, Engine(device, precision))
    both = pairs(material.faces.labels[material.chosen].tolist())
    lesson = Lesson(
        material.examples,
        both,
        recognizers.load(probe, choose(device)).surrogate(),
        material.nets,
        output,
        learning,
        engine=material.engine,
        track=watch,
    )
    cloud, history = lesson.learn()
    recipe = material.recipe(probe=probe, pairs=len(both), learning=asdict(learning), figures=history[-1])
    options = {"width": width, "epsilon": epsilon, "enhanced": enhanced, "values": values}
    _write(trained.Trained(cloud.state_dict(), options, recipe), output / "apf.safetensors")


@app.command()
def universal(
    attack: Annotated[str, typer.Argument(help="uap, gap or rhp.")],
    data: Data,
    server: Server,
    output: Output,
    photos: Photos = 50,
    without: Without = None,
    epsilon: Annotated[float, typer.Option(help="8-bit levels.")] = 8.0,
    passes: Annotated[int | None, typer.Option(min=1, help="Over all photos.", show_default="the attack's own")] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Train one perturbation for all faces: UAP, GAP or RHP.

    Writes OUTPUT/ATTACK.safetensors and ATTACK.json, for faceveil protect --method uap, gap or rhp.

    Example: faceveil train universal gap --data ~/faces --server dlib -o out/gap
    """
    from faceveil.attacks.gap import GAP
    from faceveil.attacks.rhp import RHP
    from faceveil.attacks.uap import UAP
    from faceveil.attacks.universal import fooled
    from faceveil.methods.universal import dodging, keep

    attacks = {"uap": UAP, "gap": GAP, "rhp": RHP}
    if attack not in attacks:
        raise SettingError(f"no universal attack is called {attack!r}; there are {', '.join(attacks)}")
    times = {} if passes is None else {"passes" if attack == "uap" else "epochs": passes}
    method = attacks[attack](epsilon=epsilon, seed=seed, **times)
    material = _Material.of(data, photos, without, server, Engine(device))
    nets, images = material.nets, material.examples
    images = replace(images, told=f"{images.told}, to fool {', '.join(fooled(nets))}")
    learned = method.fit(images, dodging(nets, TEMPLATE), output, material.engine, watch)
    recipe = material.recipe(learning=asdict(method))
    _write(keep(learned, epsilon, recipe), output / f"{attack}.safetensors")


@app.command()
def advfaces(
    data: Data,
    server: Server,
    output: Output,
    photos: Photos = 50,
    without: Without = None,
    width: Annotated[int, typer.Option(min=2, help="Channels at full size; a quarter of the most.")] = ADVFACES.width,
    gan: Annotated[str, typer.Option(help="least-squares or non-saturating.")] = ADVFACES.gan,
    identity: Annotated[float, typer.Option(help="The weight of being unlike.")] = ADVFACES.identity,
    size: Annotated[float, typer.Option(help="The weight of the perturbation's norm.")] = ADVFACES.size,
    norm: Annotated[
        float, typer.Option(help="The L2 norm, of 160 x 160 pixels in [0, 1], that costs nothing.")
    ] = ADVFACES.norm,
    warmup: Annotated[int, typer.Option(min=0, help="Epochs in which the norm's weight grows.")] = ADVFACES.warmup,
    epochs: Epochs = ADVFACES.epochs,
    batch: Annotated[int, typer.Option(min=2, help="Photos that are learned from together.")] = ADVFACES.batch,
    rate: Rate = ADVFACES.rate,
    precision: Precision = "32-true",
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Train AdvFaces' generator, which hides a face in one pass. Weights and rates are the paper's.

    Writes OUTPUT/advfaces.safetensors and advfaces.json, for faceveil protect --method advfaces.

    Example: faceveil train advfaces --data ~/faces --server facenet -o out/advfaces
    """
    learning = AdvFaces(
        width,
        gan=gan,
        identity=identity,
        size=size,
        norm=norm,
        warmup=warmup,
        rate=rate,
        epochs=epochs,
        batch=batch,
        seed=seed,
    )
    material = _Material.of(data, photos, without, server, Engine(device, precision))
    generator, history = learn_advfaces(material.examples, material.nets, output, learning, material.engine, watch)
    recipe = material.recipe(learning=asdict(learning), figures=history[-1])
    _write(trained.Trained(generator.state_dict(), {"width": width}, recipe), output / "advfaces.safetensors")


@app.command()
def latent(
    data: Data,
    server: Server,
    output: Output,
    photos: Photos = 50,
    without: Without = None,
    width: Annotated[
        int, typer.Option(min=1, help="Channels of the first stage; a quarter of the latents'.")
    ] = LATENT.width,
    dssim: Annotated[
        float, typer.Option(help="How much a face may change, as structural dissimilarity.")
    ] = LATENT.dssim,
    epochs: Epochs = LATENT.epochs,
    batch: Batch = LATENT.batch,
    rate: Rate = LATENT.rate,
    precision: Precision = "32-true",
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Train latent-space de-identification: an encoder-decoder that changes faces little and embeddings much.

    Writes OUTPUT/latent.safetensors and latent.json, for faceveil protect --method latent.

    Example: faceveil train latent --data ~/faces --server facenet -o out/latent
    """
    learning = Latent(width=width, dssim=dssim, rate=rate, epochs=epochs, batch=batch, seed=seed)
    material = _Material.of(data, photos, without, server, Engine(device, precision))
    module, history = learn_latent(material.examples, material.nets, output, learning, material.engine, watch)
    recipe = material.recipe(learning=asdict(learning), figures=history[-1])
    _write(trained.Trained(module.state_dict(), {"width": width}, recipe), output / "latent.safetensors")


@app.command()
def recognizer(
    name: Annotated[str, typer.Argument(help="What to call the recognizer.", show_default=False)],
    data: Data,
    like: Annotated[str, typer.Option(help="The recognizer that it is to be built like.")] = "mobilefacenet-foamliu",
    epochs: Epochs = 20,
    batch: Batch = 64,
    rate: Annotated[float, typer.Option("--lr", help="Adam's learning rate.")] = 1e-3,
    head: Annotated[str, typer.Option(help="linear, arcface, cosface, sphereface or triplet.")] = "arcface",
    held_out: Annotated[float, typer.Option(help="The share of people whom thresholds are measured on.")] = 0.1,
    precision: Precision = "32-true",
    device: Device = "auto",
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a recognizer of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a recognizer from scratch, on clear photos, mirrored ones among them, and keep it under its name.

    It is then here like any other, if it tells the people held out apart. faceveil harden makes it learn from
    cloaked photos, too.

    Example: faceveil train recognizer mine --data ~/faces --head cosface
    """
    import torch

    from faceveil.cli.harden import learn
    from faceveil.hardening import Course
    from faceveil.recognizers import card as cards
    from faceveil.recognizers import store

    course = Course(epochs, batch, rate, head, scratch=True, flip=True, held_out=held_out, seed=seed)
    torch.manual_seed(seed)
    start = Recognizer(cards.read(like), store.untrained(cards.read(like)))
    learn(start, name, data, (), (), course, Engine(device, precision), force, as_json)


@dataclass(frozen=True)
class _Material:
    """What is learned from: faces of which some take part, and recognizers to fool; since when, and on what."""

    faces: Faces
    chosen: Indices
    servers: Sequence[str]
    engine: Engine
    start: float

    @classmethod
    def of(cls, data: str, photos: int, without: Path | None, servers: Sequence[str], engine: Engine) -> "_Material":
        """The first photos of each person who has two or more, and does not stay out.

        Raises `SettingError`, before a face is looked for if it can be known by then.
        """
        start = time.perf_counter()
        dataset = datasets.open(data)
        people = dataset.identities()
        nobody = SettingError(f"{data}: nobody has two photos with a face; give a folder of people with more")
        if max(people.values(), default=0) < 2:
            raise nobody
        out = _out(without, people, data) if without else set[str]()
        faces = datasets.prepare(dataset, TEMPLATE, SIZE, track=partial(watch, what="faces"))
        tell_missing(faces)
        own = zip(faces.identities, faces.by_person(), strict=True)
        chosen = [rows[:photos] for name, rows in own if name not in out and len(rows) > 1]
        if not chosen:
            raise nobody
        return cls(faces, np.concatenate(chosen), servers, engine, start)

    @property
    def examples(self) -> Examples:
        """The faces that take part, told by their pixels."""
        told = digest(self.faces.store[row] for row in self.faces.rows[self.chosen])
        return Examples(len(self.chosen), lambda rows: self.faces[self.chosen[rows]], told)

    @property
    def nets(self) -> tuple[Recognizer, ...]:
        """The recognizers' fast copies."""
        return tuple(recognizers.load(name, choose(self.engine.device)).surrogate() for name in self.servers)

    def recipe(self, **told: object) -> dict[str, object]:
        """What is to be told of what was learned: how, from and against whom, how long the last session took."""
        arguments = [PureWindowsPath(word).name or word for word in sys.argv[1:]]  # it knows both kinds of slashes
        return {
            "command": f"faceveil {' '.join(arguments)}",
            "version": __version__,
            "people": sorted({self.faces.identities[label] for label in self.faces.labels[self.chosen]}),
            "servers": list(self.servers),
            "photos": len(self.chosen),
            **told,
            "last_session_minutes": round((time.perf_counter() - self.start) / 60, 1),
        }


def _out(without: Path, people: Mapping[str, int], data: str) -> set[str]:
    """Who stays out; warns of names that are nobody's, as whoever they were to name would be learned from."""
    names = _names(without)
    strange = [name for name in names if name not in people]
    advice = f"write them as they are there, like {next(iter(people))}"
    if len(strange) == len(names):
        raise SettingError(f"{without}: none of its {len(names)} names is of anybody in {data}; {advice}")
    if strange:
        some = one_line(", ".join(strange[:3])) + ", ..." * (len(strange) > 3)
        fail(f"warning: {without}: {len(strange)} of its {len(names)} names fit nobody in {data} ({some}); {advice}")
    return set(names)


def _names(path: Path) -> list[str]:
    """The names in a file, one on each line, whatever the line ends; a mark in front is no part of them."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read as UTF-8 ({error}); give names as plain text") from error
    return list(dict.fromkeys(name for line in lines if (name := line.strip())))


def _write(learned: trained.Trained, path: Path) -> None:
    """Writes what was learned, and says where; of several devices only the first does."""
    if os.environ.get("RANK", "0") != "0":
        return
    trained.write(learned, path, force=True)
    words = ["faceveil", "protect", "PHOTO", "--method", path.stem, "--set", f"model={path}"]
    use = list2cmdline(words) if os.name == "nt" else join(words)
    typer.echo(f"{path} ({path.stat().st_size / 2**20:.1f} MB); use it: {use}")
