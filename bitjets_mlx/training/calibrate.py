"""What regression takes from an acoustic model's prosody, measured on training clips; the voice gives it back.

A predictor trained on squared error predicts the mean of what it cannot know. Log durations come out near their
geometric mean, so speech is a little too fast; pitch comes out with a fraction of its spread, so speech is flat. One
factor per speaker for each corrects both.
"""

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic import AcousticModel
from bitjets_mlx.acoustic.model import length_mask
from bitjets_mlx.acoustic.variance import token_means
from bitjets_mlx.config import Calibration
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.ops.alignment import monotonic_search, path_matrix
from bitjets_mlx.training.acoustic_data import collate, read_clip, usable_clips
from bitjets_mlx.training.acoustic_losses import AcousticBatch, align_scores
from bitjets_mlx.training.batches import MicroBatch

CLIPS = 30  # a speaker
PITCH_SPREAD = 0.75  # of the recordings' own: more is livelier, and further from any one reading of a sentence
LARGEST_PITCH_FACTOR = 2.5


def calibrate(model: AcousticModel, data: PreparedData) -> Calibration:
    """Factors on predicted durations (frames) and pitch (normalized), one per speaker. `model` has its aligner."""
    model.eval()
    clips = usable_clips(data, "train")
    duration, pitch = [], []
    for speaker in data.speakers:
        own = [clip for clip in clips if clip.speaker == speaker]
        chosen = own[:: max(1, len(own) // CLIPS)][:CLIPS]
        measured = [_compare(model, data, clip) for clip in chosen]
        real_frames, predicted_frames = (sum(frames) for frames in zip(*(row[0] for row in measured), strict=True))
        real, predicted = (np.concatenate(rows) for rows in zip(*(row[1] for row in measured), strict=True))
        duration.append(real_frames / max(predicted_frames, 1.0))
        factor = PITCH_SPREAD * float(np.std(real)) / max(float(np.std(predicted)), 1e-3)
        pitch.append(min(max(factor, 1.0), LARGEST_PITCH_FACTOR))
    return Calibration(duration=tuple(duration), pitch=tuple(pitch))


def _compare(
    model: AcousticModel, data: PreparedData, clip: Clip
) -> tuple[tuple[float, float], tuple[np.ndarray, np.ndarray]]:
    """((recorded, predicted) frames, (recorded, predicted) pitch of the voiced tokens) of one clip."""
    item = read_clip(data, clip)
    frames, tokens = len(item["mel"]), len(item["tokens"])
    batch: AcousticBatch = collate([item], MicroBatch((), frames, tokens))
    scores = np.array(align_scores(model, batch)[0])
    durations = monotonic_search(scores, np.array([tokens]), np.array([frames]))  # (1, N)
    path = path_matrix(durations, frames)  # (1, T, N)
    mask = length_mask(batch.token_lengths, tokens)
    states = model.encode(batch.tokens, batch.speakers, mask)
    predicted = model.predict_variance(batch.tokens, batch.speakers, states, mask)
    voiced = (item["voiced"] @ path[0]) > 0  # (N,)
    real_pitch = np.array(token_means(batch.log_f0, batch.voiced, mx.array(path)))[0]
    predicted_frames = float(mx.sum(mx.maximum(mx.exp(predicted.log_durations) - 1.0, 1.0)))
    return (float(frames), predicted_frames), (real_pitch[voiced], np.array(predicted.pitch)[0][voiced])
