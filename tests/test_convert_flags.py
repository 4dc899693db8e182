"""Every flag of the convert command changes what it should, and files that contradict a flag are refused in a sentence.

`data/torch` was written by PyTorch (`tests/torch_reference/make_fixtures.py`).
"""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitjets_mlx import load_voice
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.torch_import.conversion import Options, convert, write_converted
from bitjets_mlx.voice.voice_config import read_config

DATA = Path(__file__).parent / "data" / "torch"
FILES = {"bitjets": "bitjets_late.pth", "hifigan": "hifigan_v3_old.pt", "espnet-jets": "jets.pth"}
CONFIGS = {"hifigan": DATA / "hifigan_v3.json", "espnet-jets": DATA / "jets.yaml"}

pytestmark = pytest.mark.filterwarnings("ignore")  # without a vocoder voices speak by Griffin-Lim


def converted(checkpoint: Path, output: Path, **options: Any) -> list[str]:
    return list(write_converted(output, convert(checkpoint, output, Options(**options))))


@pytest.mark.parametrize("kind", FILES)
def test_kind(kind: str, tmp_path: Path) -> None:
    """Each kind named is as each kind recognized; each wrong one is a sentence."""
    for name, given in (("auto", "a"), (kind, "b")):
        converted(DATA / FILES[kind], tmp_path / given, kind=name, config=CONFIGS.get(kind))
    same = [sorted((tmp_path / given).glob("*.safetensors")) for given in "ab"]
    assert [file.name for file in same[0]] == [file.name for file in same[1]] != []
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*same, strict=True))
    for wrong in FILES.keys() - {kind}:
        with pytest.raises(BitjetsError) as error:
            convert(DATA / FILES[kind], tmp_path / "c", Options(kind=wrong, config=CONFIGS.get(wrong)))
        assert "\n" not in str(error.value) and ("--kind" in str(error.value) or "--key-map" in str(error.value))
    assert not (tmp_path / "c").exists()


def test_generation_changes_what_is_said(tmp_path: Path) -> None:
    mels = {}
    for generation in ("early", "late"):
        converted(DATA / "bitjets_late.pth", tmp_path / generation, generation=generation)
        mels[generation] = load_voice(tmp_path / generation).predict("hello there")
        assert read_config(tmp_path / generation).origin["acoustic"]["generation"] == generation
    assert not np.allclose(mels["early"].log_durations, mels["late"].log_durations, atol=1e-2)


def test_pack_is_smaller_and_says_the_same(tmp_path: Path) -> None:
    said, sizes = [], []
    for pack in (False, True):
        converted(DATA / "bitjets_late.pth", tmp_path / "v", pack=pack)
        said.append(load_voice(tmp_path / "v").predict("hello there").mel)
        sizes.append((tmp_path / "v" / "acoustic.safetensors").stat().st_size)
    assert np.array_equal(*said) and sizes[1] < 0.5 * sizes[0]


def test_vocoder_is_taken_from_a_checkpoint_or_a_folder(tmp_path: Path) -> None:
    converted(DATA / "hifigan_v3_old.pt", tmp_path / "hg", config=CONFIGS["hifigan"])
    text = "hello there"
    converted(DATA / "bitjets_late.pth", tmp_path / "plain")
    plain = load_voice(tmp_path / "plain").speak(text)
    given = {"vocoder": DATA / "hifigan_v3_old.pt", "config": CONFIGS["hifigan"]}, {"vocoder": tmp_path / "hg"}
    spoken = []
    for options in given:
        converted(DATA / "bitjets_late.pth", tmp_path / "v", **options)
        spoken.append(load_voice(tmp_path / "v").speak(text))
        assert read_config(tmp_path / "v").vocoder == read_config(tmp_path / "hg").vocoder
    assert np.array_equal(*spoken) and not np.allclose(spoken[0][: len(plain)], plain[: len(spoken[0])])
    with pytest.raises(BitjetsError, match="--config has no meaning beside a vocoder folder"):
        convert(DATA / "bitjets_late.pth", tmp_path / "v", Options(vocoder=tmp_path / "hg", config=CONFIGS["hifigan"]))


def test_config_is_read(tmp_path: Path) -> None:
    values = json.loads(CONFIGS["hifigan"].read_text())
    (tmp_path / "c.json").write_text(json.dumps(values | {"fmax": 7600}))
    converted(DATA / "hifigan_v3_old.pt", tmp_path / "v", config=tmp_path / "c.json")
    assert read_config(tmp_path / "v").audio.f_max == 7600
    text = CONFIGS["espnet-jets"].read_text()
    (tmp_path / "c.yaml").write_text(text.replace("- OW1", "- OY2"))
    converted(DATA / "jets.pth", tmp_path / "j", config=tmp_path / "c.yaml")
    assert "OY2" in read_config(tmp_path / "j").symbols


# -- configuration files that lie ----------------------------------------------------------------------------------

LIES: list[Any] = [
    "x",
    "",
    -1,
    0,
    2.5,
    10**9,
    10**30,
    None,
    True,
    [],
    {},
    [[]],
    [0],
    [[1]],
    ["8"],
    [1] * 1000,
    {"a": 1},
]


def too_slow(*_: Any) -> None:
    raise AssertionError("it hangs")


def only_sentences(checkpoint: Path, config: Path, output: Path) -> bool:
    """Converts, or says in one sentence why not, soon; whether it converted."""
    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(20)
    try:
        convert(checkpoint, output, Options(config=config))
        return True
    except BitjetsError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000, error
        return False
    finally:
        signal.alarm(0)


def test_lies_in_config_json(tmp_path: Path) -> None:
    values = json.loads(CONFIGS["hifigan"].read_text())
    for name in values:
        converted = []
        for lie in LIES:
            (tmp_path / "c.json").write_text(json.dumps(values | {name: lie}))
            converted.append(only_sentences(DATA / "hifigan_v3_old.pt", tmp_path / "c.json", tmp_path / "v"))
        assert sum(converted) <= 3, name  # a few say nothing false, such as null


@pytest.mark.slow
def test_lies_in_config_yaml(tmp_path: Path) -> None:
    import yaml

    from bitjets_mlx.torch_import.jets_config import DEFAULTS

    values = yaml.safe_load(CONFIGS["espnet-jets"].read_text())
    parameters = values["tts_conf"]["generator_params"]
    for name in {**DEFAULTS}:
        converted = []
        for lie in LIES:
            values["tts_conf"]["generator_params"] = parameters | {name: lie}
            (tmp_path / "c.yaml").write_text(json.dumps(values))  # JSON is YAML
            converted.append(only_sentences(DATA / "jets.pth", tmp_path / "c.yaml", tmp_path / "v"))
        assert sum(converted) <= 5, name  # a few say nothing false, such as that there are no speaker vectors
    values["tts_conf"]["generator_params"] = parameters
    for lie in LIES:
        for changed in (values | {"token_list": lie}, values | {"tts_conf": lie}, values | {"tts": lie}, lie):
            (tmp_path / "c.yaml").write_text(json.dumps(changed))
            only_sentences(DATA / "jets.pth", tmp_path / "c.yaml", tmp_path / "v")
    for name in ("sampling_rate",):
        for lie in LIES:
            (tmp_path / "c.yaml").write_text(json.dumps(values | {"tts_conf": values["tts_conf"] | {name: lie}}))
            only_sentences(DATA / "jets.pth", tmp_path / "c.yaml", tmp_path / "v")


def test_a_yaml_that_would_fill_the_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]  # 9^12 words
    text = CONFIGS["espnet-jets"].read_text()
    for place in ("encoder_type", "adim", "langs", "positionwise_layer_type"):
        bomb = text.replace("adim: 32", "adim: 32\n    langs: null\n    encoder_type: transformer")
        bomb = "\n".join(line if f"{place}:" not in line else f"    {place}: *a11" for line in bomb.splitlines())
        (tmp_path / "c.yaml").write_text("\n".join(lines) + "\n" + bomb)
        assert not only_sentences(DATA / "jets.pth", tmp_path / "c.yaml", tmp_path / "v")
    (tmp_path / "c.yaml").write_text("\n".join(lines) + "\n" + text.replace("- OW1", "- *a11"))
    assert not only_sentences(DATA / "jets.pth", tmp_path / "c.yaml", tmp_path / "v")
