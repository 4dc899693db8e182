"""What a vocoder update minimizes. No state and no hidden randomness: all of it comes from the batch's key.

A batch is a dict of arrays: mel (B, T, 80), log_f0 (B, T), voiced (B, T), audio (B, T * 256), and `key`, an
`mx.random.key`, from which noise, phases, gains and the discriminators' crop are drawn; where clips may end within
the segment also `inside` (B, T * 256), ones up to the end and zeros beyond, where nothing is then generated.
"""

import math

import mlx.core as mx
import mlx.nn as nn

from bitjets_mlx.config import AudioConfig
from bitjets_mlx.training.config import VocoderTraining
from bitjets_mlx.training.vocoder_losses import (
    discriminator_adversarial_loss,
    energy_distance_losses,
    feature_matching_loss,
    full_band_mel_loss,
    generator_adversarial_loss,
    spectra,
    spectral_losses,
)
from bitjets_mlx.vocoder.discriminators import Discriminators
from bitjets_mlx.vocoder.harmonic import HarmonicVocoder, excitation_samples
from bitjets_mlx.vocoder.noise import white_noise

Batch = dict[str, mx.array]
HOP = AudioConfig.hop


def augment(batch: Batch, config: VocoderTraining) -> Batch:
    """The batch at random levels, mel and audio of each clip by the same factor, and with some mels blurred.

    Of the clips, half keep their mel; the others' is moved between 0 and `mel_blur` of the way to a blurred one,
    because that is what an acoustic model's mels are like.
    """
    gain_key, blur_key = mx.random.split(mx.random.split(batch["key"], 3)[0])
    size = batch["mel"].shape[0]
    limit = config.gain_decibels * math.log(10.0) / 20.0
    gain = mx.random.uniform(-limit, limit, (size, 1), key=gain_key)  # nepers
    mel = batch["mel"]
    if config.mel_blur and not config.teacher_forced:  # the real thing needs no imitation
        share = mx.maximum(mx.random.uniform(-1.0, 1.0, (size, 1, 1), key=blur_key), 0.0)
        mel = mel + config.mel_blur * share * (blur(mel) - mel)
    mel = mx.maximum(mel + gain[..., None], math.log(AudioConfig.log_floor))
    return {**batch, "mel": mel, "audio": batch["audio"] * mx.exp(gain)}


def blur(mel: mx.array) -> mx.array:
    """Log mel averaged over 5 bands (1 2 3 2 1), as wide as a harmonic, and 3 frames (1 2 1): (B, T, 80) -> same."""
    bands, frames = mel.shape[2], mel.shape[1]
    wide = mx.concatenate([mel[..., :1]] * 2 + [mel] + [mel[..., -1:]] * 2, axis=2)  # (B, T, 84)
    total = 3.0 * mel
    for k, weight in ((0, 1.0), (1, 2.0), (3, 2.0), (4, 1.0)):
        total = total + weight * wide[..., k : k + bands]
    mel = total / 9.0
    long = mx.concatenate([mel[:, :1], mel, mel[:, -1:]], axis=1)  # (B, T+2, 80)
    return 0.25 * long[:, :frames] + 0.5 * mel + 0.25 * long[:, 2:]


def generate(generator: nn.Module, batch: Batch, sounds: int = 1) -> list[mx.array]:
    """`sounds` x (B, T * 256) for the same features, each with its own noise; HiFi-GAN has none and makes one."""
    if isinstance(generator, HarmonicVocoder):
        keys = mx.random.split(mx.random.split(batch["key"], 3)[1], 1 + sounds)
        phase = mx.random.uniform(shape=(batch["mel"].shape[0],), key=keys[0])
        size, frames = batch["mel"].shape[:2]
        noises = [white_noise(key, size, excitation_samples(frames)) for key in keys[1:]]
        generated = generator.synthesize(batch["mel"], batch["log_f0"], batch["voiced"], phase, *noises)
    else:
        generated = [generator(batch["mel"])]
    return [sound * batch["inside"] for sound in generated] if "inside" in batch else generated


def crop(audio: mx.array, batch: Batch, frames: int) -> mx.array:
    """What the discriminators look at: the same random stretch of every clip, (B, S) -> (B, frames * 256)."""
    spare = audio.shape[1] // HOP - frames
    if not frames or spare <= 0:
        return audio
    start = mx.random.randint(0, spare + 1, (1,), key=mx.random.split(batch["key"], 3)[2]) * HOP
    return mx.slice(audio, start, (1,), (audio.shape[0], frames * HOP))


def generator_loss(
    generator: nn.Module,
    discriminators: Discriminators | None,
    batch: Batch,
    adversarial_weight: mx.array,
    config: VocoderTraining,
) -> tuple[mx.array, dict[str, mx.array]]:
    """`waveform_loss` of what the generator makes of an augmented batch; a scalar and its parts."""
    batch = augment(batch, config)
    generated = generate(generator, batch, 2 if config.energy_distance_weight else 1)
    return waveform_loss(generated, discriminators, batch, adversarial_weight, config)


def waveform_loss(
    generated: list[mx.array],
    discriminators: Discriminators | None,
    batch: Batch,
    adversarial_weight: mx.array,
    config: VocoderTraining,
) -> tuple[mx.array, dict[str, mx.array]]:
    """What a generator is judged by: spectral losses, and with discriminators LSGAN and feature matching.

    `generated`: one sound (B, T * 256), or two of the same features for `energy_distance_losses`.
    """
    metrics = _spectral(generated, batch["audio"], config)
    loss = config.mel_weight * metrics["mel_loss"]
    if config.stft_weight:
        loss = loss + config.stft_weight * metrics["stft_loss"]
    if discriminators is not None:
        fake_scores, fake = discriminators(crop(generated[0], batch, config.adversarial_frames))
        _, real = discriminators(crop(batch["audio"], batch, config.adversarial_frames))
        adversarial = generator_adversarial_loss(fake_scores)
        features = feature_matching_loss(real, fake)
        extra = config.adversarial_weight * adversarial + config.feature_weight * features
        loss = loss + adversarial_weight * extra
        metrics |= {"generator_adversarial_loss": adversarial, "feature_matching_loss": features}
        for name, members in families(discriminators).items():
            own = generator_adversarial_loss([fake_scores[i] for i in members]) / len(members)
            metrics[f"generator_adversarial_loss_{name}"] = own
    return loss, metrics | {"loss": loss}


def _spectral(generated: list[mx.array], real: mx.array, config: VocoderTraining) -> dict[str, mx.array]:
    if not config.stft_weight and config.mel_loss == "single":
        return {"mel_loss": full_band_mel_loss(generated[0], real)}
    if len(generated) == 1:
        pair = spectra(generated[0]), spectra(real)
        stft_loss, mel_loss = spectral_losses(*pair, mel_loss_kind=config.mel_loss)
    else:
        one, other = generated
        stft_loss, mel_loss = energy_distance_losses(one, other, real, config.energy_distance_weight, config.mel_loss)
    return {"stft_loss": stft_loss, "mel_loss": mel_loss}


def discriminator_loss(
    discriminators: Discriminators, generator: nn.Module, batch: Batch, config: VocoderTraining
) -> tuple[mx.array, dict[str, mx.array]]:
    """LSGAN loss of the discriminators on real and generated audio; a scalar and its parts."""
    batch = augment(batch, config)
    return waveform_discriminator_loss(discriminators, generate(generator, batch)[0], batch, config)


def waveform_discriminator_loss(
    discriminators: Discriminators, generated: mx.array, batch: Batch, config: VocoderTraining
) -> tuple[mx.array, dict[str, mx.array]]:
    """LSGAN loss of the discriminators on a batch's audio and what was generated for it, (B, T * 256).

    Its parts: the sum, and for each family of discriminators the mean of its members, 0.5 at chance.
    """
    fake_scores, _ = discriminators(crop(mx.stop_gradient(generated), batch, config.adversarial_frames))
    real_scores, _ = discriminators(crop(batch["audio"], batch, config.adversarial_frames))
    loss = discriminator_adversarial_loss(real_scores, fake_scores)
    parts = {
        f"discriminator_loss_{name}": discriminator_adversarial_loss(
            [real_scores[i] for i in members], [fake_scores[i] for i in members]
        )
        / len(members)
        for name, members in families(discriminators).items()
    }
    return loss, {"discriminator_loss": loss} | parts


def families(discriminators: Discriminators) -> dict[str, list[int]]:
    """Which members are of which kind: band, period, scale, ..."""
    found: dict[str, list[int]] = {}
    for index, member in enumerate(discriminators.members):
        found.setdefault(type(member).__name__.removesuffix("Discriminator").lower(), []).append(index)
    return found
