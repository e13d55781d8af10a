"""YAMNet: its ear against numpy, its shapes, its agreement with ONNX Runtime on real sounds, and that it learns."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from quiver.encoders.mmv.yamnet import SHORTEST, Config, LogMel, YAMNet
from quiver.errors import BadData, BadSpec, MissingExtra, MissingWeights
from quiver.media import AudioReader

TINY = Config.tiny()


def noise(sounds: int, samples: int, *, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.from_numpy(np.random.default_rng(seed).normal(size=(sounds, samples)).astype(np.float32))


@pytest.fixture
def net() -> YAMNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return YAMNet(TINY).eval()


@pytest.fixture(scope="module")
def file(packs: Path) -> Path:
    pytest.importorskip("onnx")
    return packs / "weights" / "yamnet.onnx"


@pytest.fixture(scope="module")
def real(file: Path) -> YAMNet:
    return YAMNet.from_onnx(file).eval()


def test_ear_is_the_logarithm_of_mel_bands_of_magnitudes() -> None:
    sound = noise(1, 400)[0].numpy().astype(np.float64)
    n = np.arange(400)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    frequency = np.arange(257)
    wave = np.exp(-2j * np.pi * np.outer(frequency, n) / 512)
    magnitude = np.abs(wave @ (hann * sound))
    mel = 1127 * np.log(1 + 8000 / 256 * frequency / 700)
    low, high = (1127 * np.log(1 + hertz / 700) for hertz in (125, 7500))
    corners = [low + (high - low) * step / 65 for step in range(66)]
    bands = [
        sum(m * max(0, min((at - a) / (b - a), (c - at) / (c - b))) for m, at in zip(magnitude, mel, strict=True))
        for (a, b), (_, c) in zip(pairwise(corners[:-1]), pairwise(corners[1:]), strict=True)
    ]
    heard = LogMel()(torch.from_numpy(sound[None]).float())
    np.testing.assert_allclose(heard[0, 0], np.log(np.array(bands) + 0.001), atol=1e-4)


def test_silence_is_the_logarithm_of_the_offset() -> None:
    heard = LogMel()(torch.zeros(1, 720))
    assert heard.shape == (1, 3, 64)
    torch.testing.assert_close(heard, torch.full_like(heard, np.log(0.001)))


def test_tone_is_loudest_in_the_band_around_it() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
    mel = [1127 * np.log1p(hertz / 700) for hertz in (125, 1000, 7500)]
    band = round((mel[1] - mel[0]) / ((mel[2] - mel[0]) / 65)) - 1
    assert (LogMel()(tone[None]).argmax(2) == band).all()


@pytest.mark.parametrize(
    ("samples", "patches"), [(1, 1), (15_600, 1), (23_279, 1), (23_280, 2), (80_000, 9), (160_000, 19)]
)
def test_there_is_a_patch_of_975_ms_every_480_ms(samples: int, patches: int, net: YAMNet) -> None:
    with torch.no_grad():
        assert net.patches(noise(2, samples)).shape == (2, patches, TINY.channels[-1])


def test_patch_hears_its_own_stretch_alone(net: YAMNet) -> None:
    sound = noise(1, 3 * 7680 + SHORTEST)
    with torch.no_grad():
        cut = [net.patches(sound[:, start : start + SHORTEST])[0, 0] for start in range(0, 3 * 7680 + 1, 7680)]
        torch.testing.assert_close(net.patches(sound)[0], torch.stack(cut))


def test_short_sound_is_filled_up_with_silence(net: YAMNet) -> None:
    sound = noise(1, 6000)
    filled = torch.nn.functional.pad(sound, (0, SHORTEST - 6000))
    with torch.no_grad():
        assert torch.equal(net(sound), net(filled))


def test_vector_does_not_depend_on_the_batch(net: YAMNet) -> None:
    sounds = noise(13, 80_000)  # 117 patches: more than are convolved together
    with torch.no_grad():
        alone = torch.cat([net(sound[None]) for sound in sounds])
        torch.testing.assert_close(net(sounds), alone)


def test_pools_join_patches_as_they_say() -> None:
    sounds = noise(2, 40_000)
    nets = [YAMNet(Config(channels=(4, 6), strides=(2, 2), classes=0, pool=pool)) for pool in ("mean", "max", "both")]
    for each in nets[1:]:
        each.load_state_dict(nets[0].state_dict())
    with torch.no_grad():
        mean, most, both = (each(sounds) for each in nets)
        patches = nets[0].patches(sounds)
    torch.testing.assert_close(mean, patches.mean(1))
    torch.testing.assert_close(most, patches.max(1).values)
    assert torch.equal(both, torch.cat([mean, most], 1))
    assert [each.width for each in nets] == [6, 6, 12]


def test_scores_are_the_sigmoid_of_a_linear_head(net: YAMNet) -> None:
    heard = torch.rand(2, 3, TINY.channels[-1])
    logits = heard.numpy() @ net.head.weight.detach().numpy().T + net.head.bias.detach().numpy()
    np.testing.assert_allclose(net.scores(heard).detach(), 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_network_has_the_parameters_of_the_paper() -> None:
    # Convolutions and head with their biases; batch normalisation is folded in.
    channels = Config().channels
    pairs = list(pairwise(channels))
    expected = 9 * 32 + 32 + sum(9 * a + a + a * b + b for a, b in pairs) + 1024 * 521 + 521
    assert sum(parameter.numel() for parameter in YAMNet().parameters()) == expected == 3_729_481


@pytest.mark.parametrize("until", range(4))
def test_freezing_leaves_the_later_layers_to_train(until: int, net: YAMNet) -> None:
    net.freeze(3)
    net.freeze(until)
    trained = [any(parameter.requires_grad for parameter in layer.parameters()) for layer in net.layers]
    assert trained == [place >= until for place in range(3)]
    assert net.head.weight.requires_grad == (until < 3)
    if until < 3:
        net(noise(2, 20_000)).square().sum().backward()
        reached = {name for name, value in net.named_parameters() if value.grad is not None and value.grad.any()}
        assert {int(name.split(".")[1]) for name in reached} == set(range(until, 3))


def test_gradient_reaches_the_sound_and_is_finite_in_silence(net: YAMNet) -> None:
    sound = noise(1, 40_000)
    sound[:, :20_000] = 0
    sound.requires_grad_()
    net(sound).sum().backward()
    assert sound.grad.isfinite().all()
    assert not sound.grad[:, :15_000].any()
    assert sound.grad[:, 25_000:30_000].any()


def test_it_learns_one_batch(net: YAMNet) -> None:
    time, hiss = torch.arange(SHORTEST), noise(1, SHORTEST)[0]
    clicks, tone, rumble = (time % 1600 == 0).float(), torch.sin(time / 5), hiss.cumsum(0) / 20
    sounds = torch.stack([torch.zeros(SHORTEST), hiss, clicks, tone, rumble])
    labels = torch.tensor([3, 0, 4, 1, 2])
    optimiser = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(60):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(net.head(net(sounds)), labels)
        loss.backward()
        optimiser.step()
    assert loss < 0.05


def test_half_precision_is_for_the_network_not_for_the_ear(net: YAMNet) -> None:
    quiet = noise(1, 20_000) * 1e-3
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.ear(quiet), LogMel()(quiet))
        assert net(quiet).dtype == torch.float32


def test_state_survives_a_file(net: YAMNet, tmp_path: Path) -> None:
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    again = YAMNet(TINY)
    again.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert torch.equal(again(noise(1, 20_000)), net(noise(1, 20_000)))


def test_wrong_requests_are_refused(net: YAMNet) -> None:
    with pytest.raises(BadSpec, match="pool=median: there are mean, max, both"):
        Config(pool="median")
    with pytest.raises(BadSpec, match="a stride for every layer"):
        Config(channels=(4, 8), strides=(2,))
    with pytest.raises(BadSpec, match="3 layers: it cannot freeze 4"):
        net.freeze(4)
    with pytest.raises(BadSpec, match="classes=0"):
        YAMNet(Config(channels=(4,), strides=(2,), classes=0)).scores(torch.zeros(1, 1, 4))
    with pytest.raises(BadData, match=r"\(sounds, samples\), not \(16000,\)"):
        net(torch.zeros(16_000))


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match="onnx is not installed"):
        YAMNet.from_onnx(tmp_path / "net.onnx")


def test_files_of_something_else_are_refused(tmp_path: Path, write_onnx) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(MissingWeights, match="there is no such file"):
        YAMNet.from_onnx(tmp_path / "net.onnx")
    (tmp_path / "text.onnx").write_bytes(b"not a network")
    with pytest.raises(BadSpec, match=r"text\.onnx is no ONNX file"):
        YAMNet.from_onnx(tmp_path / "text.onnx")
    with pytest.raises(BadSpec, match="mel bands"):
        YAMNet.from_onnx(write_onnx(tmp_path / "net.onnx", "sounds", np.ones((1, 1, 4))))


@pytest.mark.data
def test_file_of_another_width_is_refused(file: Path) -> None:
    with pytest.raises(BadSpec, match=r"a layer of \(32, 1, 3, 3\) where the network has \(4, 1, 3, 3\)"):
        YAMNet.from_onnx(file, TINY)
    with pytest.raises(BadSpec, match=r"a layer of \(128, 1, 3, 3\) where the network has nothing"):
        YAMNet.from_onnx(file, Config(channels=(32, 64, 128), strides=(2, 1, 2), classes=0))


@pytest.mark.data
def test_it_agrees_with_onnx_runtime_on_real_sounds(real: YAMNet, file: Path, packs: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    paths = sorted((packs / "esc10" / "audio").iterdir())[::60]
    for path, length in zip(paths, (80_000, 15_600, 23_279, 23_280, 50_000, 4_000), strict=True):
        sound = AudioReader(16_000)(str(path))[:length]
        filled = np.pad(sound, (0, max(0, SHORTEST - len(sound))))
        embeddings, scores = session.run(["embeddings", "scores"], {"waveform": filled})
        with torch.no_grad():
            heard = real.patches(torch.from_numpy(sound)[None])
            np.testing.assert_allclose(heard[0], embeddings, atol=1e-4 * np.abs(embeddings).max())
            np.testing.assert_allclose(real.scores(heard)[0], scores, atol=1e-4 * scores.max())


@pytest.mark.data
def test_a_batch_of_real_sounds_agrees_with_onnx_runtime(real: YAMNet, file: Path, packs: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    read = AudioReader(16_000, seconds=4.0)
    sounds = np.stack([read(str(path))[:57_000] for path in sorted((packs / "esc10" / "audio").iterdir())[:280:40]])
    expected = np.stack([session.run(["embeddings"], {"waveform": sound})[0].mean(0) for sound in sounds])
    with torch.no_grad():
        np.testing.assert_allclose(real(torch.from_numpy(sounds)), expected, atol=1e-4 * expected.max())


@pytest.mark.data
def test_gradient_reaches_the_first_convolution(file: Path) -> None:
    network = YAMNet.from_onnx(file, Config(classes=0))
    network(noise(1, SHORTEST)).square().mean().backward()
    assert (network.layers[0].weight.grad.abs().sum((1, 2, 3)) > 0).float().mean() > 0.5
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
