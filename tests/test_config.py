"""Configurations: held to their annotations, to JSON and back, and read as older versions wrote them."""

import json
from pathlib import Path
from typing import Any

import pytest

from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.config import (
    HIFIGAN_VERSIONS,
    AcousticConfig,
    AudioConfig,
    CharacterConfig,
    Checked,
    DiscriminatorConfig,
    FeatureStatistics,
    HarmonicConfig,
    HifiganConfig,
    JointConfig,
    from_json,
    identity_statistics,
    to_json,
)
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.voice.arrays import parameter_shapes
from bitjets_mlx.voice.voice_config import read_config, write_config

CONFIGS = (
    AudioConfig(),
    AcousticConfig(),
    AcousticConfig(weight_bits=4, ternary=False, predictors=((8, 1, 3), (9, 2, 5), (10, 3, 7))),
    CharacterConfig(generation="early"),
    HarmonicConfig(),
    *HIFIGAN_VERSIONS.values(),
    DiscriminatorConfig(),
    JointConfig(AcousticConfig(mel=False), HifiganConfig(n_mels=192)),
    JointConfig(AcousticConfig(), HarmonicConfig()),
)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_to_json_and_back(config: Checked) -> None:
    assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (HarmonicConfig, {"width": "wide"}, "HarmonicConfig.width is 'wide', and must be a whole number"),
        (HarmonicConfig, {"layers": None}, "HarmonicConfig.layers is None, and must be a whole number"),
        (HarmonicConfig, {"layers": True}, "must be a whole number"),
        (HarmonicConfig, {"layers": 10**9}, "must be from 0 to 100"),
        (HarmonicConfig, {"width": 0}, "must be from 1 to 65,536"),
        (HarmonicConfig, {"kernel": 4}, "kernel 4 must be odd"),
        (AcousticConfig, {"dropout": 1.5}, "must be from 0 to 1"),
        (AcousticConfig, {"dropout": float("nan")}, "must be a finite number"),
        (AcousticConfig, {"norm": "batch"}, "must be rms or layer"),
        (AcousticConfig, {"weight_bits": 5}, "must be 0 or 4 or 8"),
        (AcousticConfig, {"ternary": 1}, "must be true or false"),
        (AcousticConfig, {"predictors": ((8, 1, 3),)}, "must be a list of 3"),
        (AcousticConfig, {"predictors": ((8, 1),) * 3}, "must be a list of 3"),
        (AcousticConfig, {"width": 190, "heads": 4}, "multiple of 4 heads"),
        (CharacterConfig, {"generation": "middle"}, "must be early or late"),
        (HifiganConfig, {"upsample_rates": (8, 8, 2)}, "must multiply to the hop of 256"),
        (HifiganConfig, {"upsample_rates": 8}, "must be a list"),
        (HifiganConfig, {"upsample_rates": (1,) * 40}, "must be no longer than 16"),
        (HifiganConfig, {"upsample_kernel_sizes": (16, 16, 4, 5)}, "by an even number"),
        (HifiganConfig, {"resblock_dilation_sizes": ((1, 3, 5),)}, "one list for each"),
        (HifiganConfig, {"upsample_initial_channel": 8}, "cannot be halved 4 times"),
        (JointConfig, {"acoustic": AcousticConfig(), "vocoder": AcousticConfig()}, "of kind harmonic or hifigan"),
    ],
)
def test_what_no_annotation_allows_is_refused(kind: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(BitjetsError, match=message):
        kind(**values)
    with pytest.raises(BitjetsError, match=message):
        from_json(kind, json.loads(json.dumps({name: to_json(value) for name, value in values.items()})))


def test_json_of_another_shape_is_refused() -> None:
    with pytest.raises(BitjetsError, match=r"HarmonicConfig in config.json must be an object"):
        from_json(HarmonicConfig, [])
    with pytest.raises(BitjetsError, match=r"unknown keys \['depth'\] and lacks \[\]"):
        from_json(HarmonicConfig, {"depth": 3})
    with pytest.raises(BitjetsError, match=r"lacks \['acoustic', 'vocoder'\]"):
        from_json(JointConfig, {})
    with pytest.raises(BitjetsError, match=r"JointConfig.vocoder is .*of kind harmonic or hifigan"):
        from_json(JointConfig, {"acoustic": {}, "vocoder": {"kind": "magic"}})


OLD = {"kind": "bitjets", "predictor_width": 24, "predictor_layers": 1, "predictor_kernel": 5, "predictors": []}


@pytest.mark.parametrize(
    ("values", "predictors"),
    [
        (OLD, ((24, 1, 5),) * 3),
        (OLD | {"pitch_reads": "phonemes"}, ((24, 1, 5), (64, 4, 9), (24, 1, 5))),
        (OLD | {"predictors": [[8, 1, 3], [9, 1, 3], [7, 1, 3]]}, ((8, 1, 3), (9, 1, 3), (7, 1, 3))),
        ({}, ((192, 2, 3),) * 3),
    ],
)
def test_predictors_of_older_versions_become_explicit(values: dict[str, Any], predictors: Any) -> None:
    config = from_json(AcousticConfig, values)
    assert config.predictors == predictors and from_json(AcousticConfig, to_json(config)) == config
    assert parameter_shapes(BitJets(config))["pitch.head.weight"] == (1, predictors[1][0])


def test_the_shipped_configs_are_as_this_version_writes_them(tmp_path: Path) -> None:
    for folder in sorted((Path(__file__).resolve().parents[1] / "weights").iterdir()):
        write_config(tmp_path, read_config(folder))
        assert (tmp_path / "config.json").read_text() == (folder / "config.json").read_text(), folder.name


def test_discriminators_of_older_versions_had_another_kind_that_none_used() -> None:
    values = to_json(DiscriminatorConfig()) | {"spectrogram_sizes": [], "spectrogram_channels": 16}
    assert from_json(DiscriminatorConfig, values) == DiscriminatorConfig()
    with pytest.raises(BitjetsError, match="spectrogram_sizes"):
        from_json(DiscriminatorConfig, values | {"spectrogram_sizes": [512]})


@pytest.mark.parametrize(("name", "value"), [("mel_std", 0.0), ("log_f0_std", 1e-300), ("mel_mean", -1e30)])
def test_statistics_that_are_divided_by_or_overflow_are_refused(name: str, value: float) -> None:
    good = to_json(identity_statistics(2, 2))
    with pytest.raises(BitjetsError, match=name):
        from_json(FeatureStatistics, good | {name: [value, 1.0]})
