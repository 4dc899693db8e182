"""A vocoder that learns on teacher-forced mels: an acoustic model's, beside their recordings."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from tiny_training import assert_same_trees, begin_run, run_train, tiny_config, tiny_data

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.vocoder_data import teacher_forced_mels
from bitjets_mlx.training.vocoder_stage import VocoderStage


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("forced") / "prepared")


@pytest.fixture(scope="module")
def acoustic(data: PreparedData) -> Path:
    run = data.folder.parent / "acoustic"
    begin_run(run, data, "acoustic", updates=2)
    done = run_train(data, run, "acoustic", "--resume")
    assert done.returncode == 0, done.stderr
    return run


def stage(data: PreparedData, run: Path, acoustic: object) -> VocoderStage:
    return VocoderStage(data, tiny_config("vocoder", data, teacher_forced=str(acoustic), batch_size=4), run)


def test_half_of_the_segments_have_the_models_mel_with_the_recorded_sound(
    data: PreparedData, acoustic: Path, tmp_path: Path
) -> None:
    made, plain = stage(data, tmp_path, acoustic), stage(data, tmp_path, "")
    same, rows = 0, 0
    for number in range(12):
        ours = [shard[name] for shard in made.read(number)[0] for name in ("mel", "audio")]
        theirs = [shard[name] for shard in plain.read(number)[0] for name in ("mel", "audio")]
        for mel, other, audio, sound in zip(ours[::2], theirs[::2], ours[1::2], theirs[1::2], strict=True):
            assert mx.array_equal(audio, sound)
            equal = np.array(mx.all(mel == other, axis=(1, 2)))
            same, rows = same + int(equal.sum()), rows + len(equal)
    assert 0.3 < same / rows < 0.7


def test_mels_are_kept_with_the_run_so_that_it_resumes_bit_for_bit(
    data: PreparedData, acoustic: Path, tmp_path: Path
) -> None:
    whole, halves = stage(data, tmp_path / "whole", acoustic), stage(data, tmp_path / "halves", acoustic)
    for number in range(4):
        whole.update(number)
    for number in range(2):
        halves.update(number)
    again = stage(data, tmp_path / "halves", tmp_path / "gone")  # the acoustic run is not asked any more
    again.load_parts(halves.parts())
    for number in range(2, 4):
        again.update(number)
    assert_same_trees(whole.parts(), again.parts())


def test_an_acoustic_model_of_other_speakers_is_refused(data: PreparedData, acoustic: Path, tmp_path: Path) -> None:
    other = PreparedData(data.folder)
    other.speakers = ("carla", "dora")
    with pytest.raises(BitjetsError, match=r"has the speakers anna, ben, the data carla, dora"):
        teacher_forced_mels(acoustic, other, other.split("train"), tmp_path, write=True)
    assert not list(tmp_path.iterdir())


def test_mels_of_an_older_run_are_read(data: PreparedData, acoustic: Path, tmp_path: Path) -> None:
    """Under their former name."""
    clips = data.split("train")[:2]
    mels = teacher_forced_mels(acoustic, data, clips, tmp_path, write=True)
    (tmp_path / "teacher_forced_mels.safetensors").rename(tmp_path / "spoken_mels.safetensors")
    again = teacher_forced_mels(tmp_path / "gone", data, clips, tmp_path, write=True)
    assert all(np.array_equal(one, other) for one, other in zip(mels, again, strict=True))


def test_the_option_reaches_a_real_run_and_is_the_vocoders_only(
    data: PreparedData, acoustic: Path, tmp_path: Path
) -> None:
    options = ("--updates", "1", "--batch-size", "2", "--accumulate", "1", "--segment-frames", "16")
    done = run_train(data, tmp_path / "vocoder", "vocoder", "--acoustic", str(acoustic), *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "vocoder" / "teacher_forced_mels.safetensors").exists()
    refused = run_train(data, tmp_path / "no", "acoustic", "--acoustic", str(acoustic))
    assert refused.returncode != 0 and "--teacher-forced has no meaning for --stage acoustic" in refused.stderr
