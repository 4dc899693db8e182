"""ESPnet's JETS, converted, against what ESPnet itself spoke (`tests/torch_reference/jets_espnet.py`)."""

import json
from pathlib import Path

import numpy as np
import pytest

from bitjets_mlx import load_voice
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.torch_import.conversion import Options, convert, write_converted
from bitjets_mlx.voice.voice_config import read_config

DATA = Path(__file__).parent / "data" / "torch"
PHONEMES = ("HH AH0 L OW1 , W ER1 L D .", "DH EH1 R ?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("jets") / "v"
    list(write_converted(output, convert(DATA / "jets.pth", output, Options(config=DATA / "jets.yaml"))))
    return output


def test_equals_espnet(folder: Path) -> None:
    voice, expected = load_voice(folder), np.load(DATA / "jets_expected.npz")
    for number, phonemes in enumerate(PHONEMES):
        p = voice.predict(phonemes=phonemes.split())
        assert p.durations.tolist() == expected[f"d{number}"].tolist()
        samples, wanted = voice.speak(phonemes=phonemes.split()), expected[f"w{number}"]
        assert samples.shape == wanted.shape
        assert np.abs(samples - wanted).max() < 1e-4 * np.abs(wanted).max()
        assert np.array_equal(voice.speak(phonemes=phonemes.split(), energy=0.5), samples * np.float32(0.5))
        assert not np.array_equal(voice.predict(phonemes=phonemes.split(), pitch=4.0).mel, p.mel)


def test_text_and_symbols(folder: Path) -> None:
    voice = load_voice(folder)
    assert voice.config.symbols[:3] == ("<blank>", "<unk>", "HH")
    assert voice.sentences("Hello there.") == [["HH", "AH0", "L", "OW1", "DH", "EH1", "R", "."]]  # no gaps
    assert len(voice.speak("Hello there. Hello.")) > 0
    with pytest.raises(BitjetsError, match="unknown symbol 'K': this voice's symbols are <blank>"):
        voice.speak("Cat.")


def test_other_vocoders_do_not_fit(folder: Path, shared: Path, tmp_path: Path) -> None:
    official = shared / "checkpoints" / "hifigan_lj_v2" / "generator_v2"
    list(write_converted(tmp_path / "hg", convert(official, tmp_path / "hg", Options())))
    with pytest.raises(BitjetsError, match="own vocoder reads its decoder's states"):
        load_voice(folder, tmp_path / "hg")


def test_ternary_is_prepared_for_fine_tuning(tmp_path: Path) -> None:
    output = tmp_path / "t"
    converted = convert(DATA / "jets.pth", output, Options(config=DATA / "jets.yaml", ternary=True))
    assert any("Griffin-Lim" in sentence for sentence in list(write_converted(output, converted)))
    config = read_config(output)
    assert config.acoustic.ternary and config.acoustic.mel and config.vocoder is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder_type": "conformer"}, "encoder_type is 'conformer'"),
        ({"use_gst": True}, "use_gst is True"),
        ({"spk_embed_dim": 192}, "spk_embed_dim is 192"),
        ({"adim": 48}, "the model wants"),
        ({"adim": 33}, "width 33 must be even"),
    ],
)
def test_what_cannot_be_converted_is_named(change: dict, named: str, tmp_path: Path) -> None:
    import yaml

    values = yaml.safe_load((DATA / "jets.yaml").read_text())
    values["tts_conf"]["generator_params"] |= change
    (tmp_path / "c.yaml").write_text(json.dumps(values))  # JSON is YAML
    with pytest.raises(BitjetsError, match=named):
        convert(DATA / "jets.pth", tmp_path / "v", Options(config=tmp_path / "c.yaml"))


def test_config_yaml_is_needed_and_checked(tmp_path: Path) -> None:
    (tmp_path / "jets.pth").write_bytes((DATA / "jets.pth").read_bytes())
    with pytest.raises(BitjetsError, match=r"config.yaml is missing: .*--config"):
        convert(tmp_path / "jets.pth", tmp_path / "v", Options())
    for text in ("token_list: [", "tts: vits", "!!python/object/apply:os.system ['true']"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(BitjetsError, match=r"cannot be read as YAML|is not the config.yaml of a JETS"):
            convert(tmp_path / "jets.pth", tmp_path / "v", Options())
