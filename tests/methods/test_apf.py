"""APF's parts: the device's gradient, the cloud's modules, what crosses between them, and learning, on toys."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from attacks.toys import pictures, recognizer, regions
from faceveil import trained
from faceveil.attacks.budget import Linf
from faceveil.attacks.gradient import mim
from faceveil.attacks.quantization import Grid
from faceveil.errors import SettingError, WeightsError
from faceveil.methods import apf
from faceveil.methods.apf import Apf, learning
from faceveil.methods.apf.cloud import Cloud, Enhancement, UNet, load
from faceveil.methods.apf.device import ATTACKS, build
from faceveil.methods.apf.learning import Learning, Lesson, pairs
from faceveil.methods.scene import Scene
from faceveil.objectives.feature import distance
from faceveil.recognizers import Recognizer
from faceveil.service.client import Remote
from faceveil.training import Engine, Examples

PROBE, SERVER = recognizer(template="arcface"), recognizer(1, template="arcface")


def scene(images, *nets):
    return Scene.cut(images, "arcface", nets or (PROBE,))


def test_fgsm_is_the_sign_of_the_distance_s_gradient():
    """Eq. 1 and 2: g = epsilon sign(grad of -L), where no channel is at the end of its range."""
    images, enrolled = 0.25 + pictures(3) / 2, 0.25 + pictures(3, seed=1) / 2
    sources = scene(enrolled).embed()
    found = Apf((PROBE,), "fgsm", scatter=False).gradient(scene(images), sources)
    seen = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(PROBE(seen), sources[0]).sum(), seen)
    matters = gradient.abs() > 1e-6  # the toy does not see the last row and column
    assert (found * gradient > 0)[matters].float().mean() > 0.98  # the walk starts a tenth of a level away
    assert ((found[matters].abs() - 8 / 255).abs() < 0.11 / 255).all()


@pytest.mark.parametrize("attack", ATTACKS)
def test_gradients_lead_away_inside_the_budget_each_as_if_alone(attack):
    images, method = pictures(4), Apf((PROBE,), attack, steps=4)
    found = method.gradient(scene(images))
    assert found.abs().max() <= 8 / 255 + 1e-6
    assert (images + found).min() >= -1e-6
    assert (images + found).max() <= 1 + 1e-6
    assert (distance(PROBE(images + found), PROBE(images)) > 0.1).all()
    alone = torch.cat([method.gradient(scene(image[None])) for image in images])
    assert torch.allclose(found, alone, atol=1e-6)


@pytest.mark.parametrize("attack", ["mi-fgsm", "m-di2"])
def test_momentum_decays_as_it_is_told(attack):
    assert build(attack, 8.0, 10, 2.0, 0.6, 0).transforms == mim(Linf(8), 10, 0.6).transforms
    images = pictures(2)
    found = [Apf((PROBE,), attack, steps=6, decay=decay).gradient(scene(images)) for decay in (1.0, 1.0, 0.0)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_delta_sends_photos_of_one_person_to_different_places():
    """Eq. 13: away from one enrolled photo, two photos that are almost alike take more different ways with delta."""
    images = pictures(1).expand(2, -1, -1, -1).clone()
    images[1, 0, 0, 0] = 1 - images[1, 0, 0, 0]
    sources = (PROBE(images[:1]).detach().expand(2, -1),)

    def alike(scatter):
        found = Apf((PROBE,), "fgsm", scatter=scatter).gradient(scene(images), sources)
        return float((found[0].sign() == found[1].sign()).float().mean())

    assert alike(1.0) < alike(0.0) - 0.05


@pytest.mark.parametrize("scatter", [1.0, 10.0])
def test_delta_is_as_long_as_in_the_paper_or_so_many_times_as_long(monkeypatch, scatter):
    """Section 4.3.2: at most 0.07."""
    reaches = []
    monkeypatch.setattr(apf, "scattered", lambda own, draw, reach: reaches.append(reach) or own)
    Apf((PROBE,), "fgsm", scatter=scatter).gradient(scene(pictures(2)))
    assert reaches == pytest.approx([0.07 * scatter] * 2)


def test_a_delta_of_ten_times_the_length_leads_further_apart():
    images, enrolled = pictures(1).expand(2, -1, -1, -1).clone(), pictures(1, seed=1)
    images[1, 0, 0, 0] = 1 - images[1, 0, 0, 0]
    sources = (PROBE(enrolled).detach().expand(2, -1),)

    def alike(scatter):
        found = Apf((PROBE,), "fgsm", scatter=scatter).gradient(scene(images), sources)
        return float((found[0].sign() == found[1].sign()).float().mean())

    assert alike(10.0) < alike(1.0) - 0.05 < alike(0.0)


def test_the_cloud_gets_the_gradient_and_its_noise_is_added():
    asked = []

    def cloud(gradient):
        asked.append(gradient)
        return -gradient

    places = regions(2)
    method = Apf((PROBE,), "fgsm", cloud=cloud)
    scenes = Scene.of(places, method.guides)
    assert torch.equal(method(places), method.lay(scenes, -asked[0]))
    assert asked[0].shape == (2, 3, 112, 112)
    assert asked[0].abs().max() <= 8 / 255 + 1e-6


def test_noise_beyond_epsilon_is_cut_off():
    places = regions(1)
    cloaked = Apf((PROBE,), "fgsm", cloud=torch.ones_like)(places)
    assert (cloaked - places[0].images).abs().max() <= 8 / 255 + 1e-6


@pytest.fixture
def kept(tmp_path):
    torch.manual_seed(0)
    module = Cloud(width=2, values=2, size=(112, 112))
    path = tmp_path / "cloud.safetensors"
    trained.write(trained.Trained(module.state_dict(), {"width": 2, "values": 2}, {"servers": ["toy-9"]}), path)
    return path


@pytest.mark.parametrize("epsilon", [8.0, 4.0])
def test_the_cloud_on_this_machine_sees_what_a_server_would_see(kept, epsilon):
    faces = scene(pictures(2, size=112))
    method = Apf((PROBE,), "fgsm", epsilon=epsilon, model=str(kept))
    sent = Grid(epsilon, 2)(method.gradient(faces))
    expected = load(kept)(sent * (8 / epsilon)) * (epsilon / 8)
    assert torch.allclose(method.perturbation(faces), expected, atol=1e-6)


def test_what_the_cloud_learned_to_fool_was_attacked_too(kept):
    assert Apf((PROBE,), model=str(kept)).attacked == (PROBE.name, "toy-9")


def test_or_else_what_a_server_says_that_its_own_module_learned_to_fool(kept):
    cloud = Remote("http://localhost")
    cloud.fools = ("toy-8", PROBE.name)
    assert Apf((PROBE,), model=str(kept), cloud=cloud).attacked == (PROBE.name, "toy-8")
    cloud.fools = None  # it does not say
    assert Apf((PROBE,), model=str(kept), cloud=cloud).attacked == (PROBE.name, "toy-9")
    cloud.fools = ()
    assert Apf((PROBE,), model=str(kept), cloud=cloud).attacked == (PROBE.name,)


def test_another_attack_is_refused():
    with pytest.raises(SettingError, match="attack is 'cw'; it is one of fgsm, i-fgsm"):
        Apf((PROBE,), "cw")


def test_the_u_net_is_the_papers():
    """Four stages of stride 2 and four back, 64 to 512 channels, the skips doubling what the later ones take."""
    net = UNet()
    shapes = [tuple(layer.weight.shape[:2]) for layer in (*net.down, *net.up)]
    down = [(64, 3), (128, 64), (256, 128), (512, 256)]
    assert shapes == [*down, (512, 256), (512, 128), (256, 64), (128, 3)]  # transposed convolutions: in, out
    assert all(layer.stride == (2, 2) for layer in (*net.down, *net.up))


@pytest.mark.parametrize("size", [(112, 112), (96, 112), (12, 17)])
def test_the_u_net_keeps_the_size(size):
    assert UNet(2)(torch.zeros(1, 3, *size)).shape[2:] == size


@pytest.mark.parametrize(("width", "size"), [(24, (112, 112)), (40, (97, 113))])
def test_a_wide_u_net_starts_as_the_identity_and_can_learn(width, size):
    net, x = UNet(width), torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(net(x), x, atol=1e-6)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    for _ in range(2):  # the last layer first: without it nothing behind it counts
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    assert all(weights.grad.abs().max() > 0 for weights in net.parameters())


def test_enhancement_is_a_scaled_shifted_and_mixed_u():
    module, u = Enhancement(), torch.randn(1, 3, 5, 5)
    nn.init.normal_(module.convolution.weight)
    nn.init.normal_(module.convolution.bias)
    module.beta.data, module.gamma.data = torch.tensor(2.0), torch.tensor(-0.5)
    mixed = torch.einsum("oi,nihw->nohw", module.convolution.weight[:, :, 0, 0], 2 * u - 0.5)
    assert torch.allclose(module(u), mixed + module.convolution.bias[:, None, None], atol=1e-5)


def test_the_cloud_clips_to_epsilon_and_sees_each_gradient_alone():
    torch.manual_seed(0)
    cloud = Cloud(width=2, epsilon=6.0, size=(20, 20)).eval()
    cloud.universal.copy_(4 * torch.randn(3, 20, 20))
    gradients = 6 / 255 * torch.randn(3, 3, 20, 20).clamp(-1, 1)
    with torch.no_grad():
        noise = cloud(gradients)
        assert torch.isclose(noise.abs().max(), torch.tensor(6 / 255))
        assert torch.allclose(noise, torch.cat([cloud(one[None]) for one in gradients]), atol=1e-7)


def test_pairs_are_of_one_person():
    assert pairs([3, 1, 3, -1, 1, 3, 2, -1]) == [(0, 2), (2, 5), (5, 0), (1, 4), (4, 1)]


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    images = (pictures(12).repeat_interleave(2, 0) + 0.05 * pictures(24, seed=5)).clamp(0, 1)
    learning = Learning(width=4, attack="i-fgsm", steps=3, ascents=5, transfers=2, epochs=6, batch=8, rate=1e-2)
    both = pairs([i // 2 for i in range(24)])
    faces = Examples(24, lambda rows: images[torch.from_numpy(rows)])
    return Lesson(faces, both, PROBE, (SERVER,), tmp_path_factory.mktemp("lesson"), learning, engine=Engine("cpu"))


def test_the_cloud_learns_to_fool_the_server(lesson):
    """On faces that it did not see its noise is better than the gradient that it gets."""
    seen = []
    cloud, history = lesson.learn(lambda epoch, module: seen.append(epoch) or {"epoch": float(epoch)})
    assert seen == list(range(1, 7))
    assert history[-1]["dodging"] < history[0]["dodging"]
    others = pictures(16, seed=9)
    gradient = Apf((PROBE,), "i-fgsm", steps=3).gradient(scene(others))

    def away(noise):
        return float(distance(SERVER((others + noise).clamp(0, 1)), SERVER(others)).mean())

    assert away(cloud(gradient)) > 1.2 * away(gradient)


def test_eq_4_turns_gradients_toward_the_servers_and_leaves_them_as_strong(lesson, tmp_path):
    """The servers' are those of Eq. 1, whatever attack found what the cloud is given."""
    alone = replace(lesson.learning, width=24, enhanced=False, transfers=20, epochs=0, rate=1e-3)
    cloud, history = replace(lesson, folder=tmp_path, learning=alone).learn()
    assert history == []
    here, there = (lesson.faces.read(np.array(some)) for some in zip(*lesson.pairs, strict=True))
    given, wanted = (
        Apf((net,), attack, steps=3, scatter=False).gradient(scene(here, net), scene(there, net).embed())
        for net, attack in ((PROBE, "i-fgsm"), (SERVER, "fgsm"))
    )

    def alike(noise):
        return float(torch.cosine_similarity(noise.flatten(1), wanted.flatten(1)).mean())

    assert alike(cloud(given)) > 1.2 * alike(given)
    assert cloud(given).norm() > given.norm()


def given_and_enrolled(lesson, attack="i-fgsm"):
    """The photos of all pairs, those that are enrolled, and the probe's gradients away from these."""
    here, there = (lesson.faces.read(np.array(some)) for some in zip(*lesson.pairs, strict=True))
    method = Apf((PROBE,), attack, steps=3, scatter=False)
    return here, there, method.gradient(scene(here), scene(there).embed())


@pytest.mark.parametrize("values", [0, 2])
def test_eq_9_leads_from_those_enrolled_in_units_of_each_server_s_threshold(lesson, tmp_path, values):
    """Its first loss, of all pairs and two servers (Eq. 10), by a cloud that starts as the identity."""
    other = recognizer(2, template="arcface")
    other.card = replace(other.card, thresholds={"published": 1.5})
    alone = replace(lesson.learning, width=24, enhanced=False, values=values, transfers=0, epochs=1, batch=24)
    _, history = replace(lesson, folder=tmp_path, servers=(SERVER, other), learning=alone).learn()
    here, there, noise = given_and_enrolled(lesson)
    if values:  # the signs alone are sent
        noise = torch.where(noise >= 0, 8 / 255, -8 / 255)
    seen = (here + noise).clamp(0, 1)
    away = [float(distance(net(seen), net(there)).mean()) / unit for net, unit in ((SERVER, 0.5), (other, 1.5))]
    assert history[0]["dodging"] == pytest.approx(-sum(away) / 2, abs=1e-3)


def test_eq_9_starts_with_a_quarter_of_u_and_teaches_both_t_and_e(lesson, tmp_path):
    learning = replace(lesson.learning, width=24, ascents=3, transfers=0, epochs=1, batch=24)
    cloud, history = replace(lesson, folder=tmp_path, learning=learning).learn()
    here, there, noise = given_and_enrolled(lesson)
    changed = (noise + cloud.universal * (8 / 255) / 4).clamp(-8 / 255, 8 / 255)
    away = distance(SERVER((here + changed).clamp(0, 1)), SERVER(there)).mean()
    assert history[0]["dodging"] == pytest.approx(-float(away) / 0.5, abs=1e-3)
    torch.manual_seed(0)
    start = Cloud(24, size=(12, 12)).state_dict()
    moved = {name for name, tensor in cloud.state_dict().items() if not torch.equal(tensor, start[name])}
    enhancement = {f"enhancement.{name}" for name in ("beta", "gamma", "convolution.weight", "convolution.bias")}
    assert moved >= enhancement | {"transfer.up.3.weight", "transfer.up.3.bias"}


def test_eq_4_gives_t_shares_of_epsilon_as_eq_9_does(lesson, tmp_path, monkeypatch):
    seen, forward = [], UNet.forward

    def watch(self, x):
        seen.append(float(x.abs().max()))
        return forward(self, x)

    monkeypatch.setattr(UNet, "forward", watch)
    learning = replace(lesson.learning, attack="fgsm", enhanced=False, epsilon=4.0, transfers=1, epochs=1)
    replace(lesson, folder=tmp_path, learning=learning).learn()
    assert len(seen) == 2 * 3
    assert seen == pytest.approx(6 * [1.0], abs=0.03)


def test_gradients_lead_from_near_the_photo_itself_where_nobody_is_enrolled(lesson, tmp_path):
    """As they do where the cloud is used (Eq. 13)."""
    small = replace(lesson, folder=tmp_path, learning=replace(lesson.learning, own=True))
    small._keep((PROBE,), "fgsm")
    expected = Apf((PROBE,), "fgsm").gradient(scene(given_and_enrolled(lesson)[0]))
    assert torch.allclose(small._kept((PROBE,), "fgsm", np.arange(24)), expected, atol=1e-4)


def test_u_leads_away_in_units_of_each_server_s_threshold(lesson, tmp_path):
    """One whose strangers are a billion apart hardly counts."""
    learning = replace(lesson.learning, transfers=0, epochs=0, ascents=3)

    def other(threshold):
        net = recognizer(2, template="arcface")
        net.card = replace(net.card, thresholds={"published": threshold})
        return net

    def u(*servers):
        folder = tmp_path / str([server.threshold for server in servers])
        cloud, _ = replace(lesson, folder=folder, servers=servers, learning=learning).learn()
        return cloud.universal

    alone = u(SERVER)
    assert (u(SERVER, other(1e9)) == alone).float().mean() > 0.99
    assert (u(SERVER, other(0.5)) == alone).float().mean() < 0.95


def test_u_leads_away_from_people(lesson, tmp_path):
    """Eq. 7: as far as it may, from everybody enrolled; not so the other way."""
    alone = replace(lesson.learning, transfers=0, epochs=0, ascents=30)
    cloud, _ = replace(lesson, folder=tmp_path, learning=alone).learn()
    u, images = cloud.universal * 8 / 255, pictures(20, seed=9)
    everybody = SERVER(lesson.faces.read(np.arange(24)))

    def away(noise):
        return float(torch.cdist(SERVER((images + noise).clamp(0, 1)), everybody).mean())

    assert 255 * u.abs().max() == pytest.approx(8, abs=1e-3)
    assert away(u) > away(0 * u) + 0.02
    assert away(u) > away(-u) + 0.04


def test_kept_gradients_are_the_mean_of_the_servers_in_the_order_of_the_pairs(lesson, tmp_path, monkeypatch):
    """Eq. 5, in files of four pairs each."""
    monkeypatch.setattr(learning, "BATCH", 4)
    servers = SERVER, recognizer(2, template="arcface")
    small = replace(lesson, pairs=lesson.pairs[:10], servers=servers, folder=tmp_path)
    here, there = (lesson.faces.read(np.array(some)) for some in zip(*small.pairs, strict=True))
    each = [Apf((net,), "fgsm", scatter=False).gradient(scene(here, net), scene(there, net).embed()) for net in servers]
    small._keep(servers, "fgsm")
    rows = np.array([9, 0, 5, 3, 4])
    assert torch.allclose(small._kept(servers, "fgsm", rows), (each[0] + each[1])[rows] / 2, atol=1e-4)


def test_what_eq_4_left_can_be_had_after_eq_9(lesson, tmp_path):
    short = replace(lesson, folder=tmp_path, learning=replace(lesson.learning, enhanced=False, epochs=1))
    before = replace(short, learning=replace(short.learning, epochs=0))
    first, (whole, _), again = before.learn()[0], short.learn(), before.learn()[0]
    same = [torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)]
    assert all(same)
    assert not torch.equal(first.transfer.up[-1].weight, whole.transfer.up[-1].weight)


def test_learning_goes_on_where_it_was_stopped(lesson, tmp_path):
    small = replace(lesson, folder=tmp_path / "whole", learning=replace(lesson.learning, epochs=2))
    whole, told = small.learn()
    stopped = replace(small, folder=tmp_path / "stopped", learning=replace(small.learning, epochs=1))
    stopped.learn()
    found = sorted(path.name for path in stopped.folder.iterdir() if path.name not in {"lock", "checkpoint.pt"})
    assert [name.split("-")[0] for name in found] == ["enhanced", "gradients", "gradients", "transfer", "universal"]
    again, history = replace(stopped, learning=small.learning).learn()
    assert history == told
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": -1.0}, "rate is -1; choose more than 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"values": 1}, "a cloak of 1 values cannot be sent"),
        ({"width": 0}, "width is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"width": 10**5000}, r"width is too far from 0; choose more than 0, and less than 2\*\*63"),
        ({"transfers": -1}, "transfers is -1; choose 0 or more"),
        ({"ascents": -1}, "ascents is -1; choose 0 or more"),
        ({"epochs": -(10**400)}, "epochs is too far from 0; choose 0 or more"),
        ({"seed": -1}, "seed is -1; choose 0 or more"),
        ({"seed": 10**5000}, "seed is too far from 0"),
        ({"attack": "cw"}, "attack is 'cw'"),
        ({"epsilon": 0.0}, "epsilon is 0"),
    ],
)
def test_learning_that_makes_no_sense_is_refused_before_anything_is_found(change, message):
    with pytest.raises(SettingError, match=message):
        Learning(**change)


def test_a_folder_that_cannot_be_written_is_not_said_to_be_the_cache(lesson, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"file/out cannot be written \(.*\); make room, or choose another folder$"):
        replace(lesson, folder=tmp_path / "file" / "out").learn()


def test_other_settings_need_another_folder(lesson):
    with pytest.raises(SettingError, match="width 4, not 8"):
        replace(lesson, learning=replace(lesson.learning, width=8, transfers=0)).learn()


def test_other_photos_or_recognizers_are_not_mistaken_for_those_before(lesson, tmp_path):
    """Though pairs and names are the same; it is said before anything is found."""
    first = replace(lesson, folder=tmp_path, learning=replace(lesson.learning, epochs=1, transfers=0, ascents=1))
    first.learn()
    kept = sorted(tmp_path.iterdir())
    with pytest.raises(SettingError, match="is of a run with data"):
        replace(first, faces=replace(first.faces, told="others")).learn()
    other = Recognizer(SERVER.card, recognizer(2, template="arcface").network)
    with pytest.raises(SettingError, match=r"servers \['toy-1 \w+'\], not \['toy-1 \w+'\]"):
        replace(first, servers=(other,)).learn()
    assert sorted(tmp_path.iterdir()) == kept
