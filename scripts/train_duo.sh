#!/usr/bin/env bash
# scripts/train_duo.sh SPEECH WORK: trains the shipped voice from recordings to weights/duo, as it was trained.
# SPEECH holds kathleen/ and lj/ in LJSpeech layout; WORK takes prepared features and runs (about 2 GB).
# About seven hours on two cores. Killed, it goes on where it was when called again.
set -eu
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$root/scripts/setup.sh"
[ $# -eq 2 ] || fail "give the folder of recordings and a folder to work in: scripts/train_duo.sh SPEECH WORK"
speech="$1"
work="$2"
set_up requirements-speak.txt requirements.txt requirements-dev.txt
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

# train RUN flags...: begins a run, or goes on with it.
train() {
  local run="$work/$1"
  shift
  if [ -e "$run/config.json" ]; then
    "$python" -m bitjets_mlx.train --data "$work/prepared" --out "$run" "$1" "$2" --resume
  else
    "$python" -m bitjets_mlx.train --data "$work/prepared" --out "$run" "$@"
  fi
}

"$python" -m bitjets_mlx.prepare --speaker "kathleen=$speech/kathleen" --speaker "lj=$speech/lj" --out "$work/prepared"
train acoustic_first --stage acoustic --updates 6000 --accumulate 2
train acoustic_second --stage acoustic --updates 2700 --accumulate 2 --learning-rate 1.5e-3 --warm-up 50 \
  --init "$work/acoustic_first"
# Two blocks more in the decoder, which a voice of 3 MB has room for.
train acoustic_third --stage acoustic --updates 2800 --accumulate 2 --learning-rate 1.5e-3 --warm-up 50 \
  --decoder-layers 5 --decoder-dropout 0.1 --predictor-dropout 0.3 --init "$work/acoustic_second"
# By now the model overfits to the recordings; more dropout generalizes better to new sentences.
train acoustic_fourth --stage acoustic --updates 2600 --accumulate 2 --learning-rate 1.5e-3 --warm-up 50 \
  --dropout 0.2 --decoder-dropout 0.2 --predictor-dropout 0.4 --init "$work/acoustic_third"
train acoustic --stage acoustic --updates 1400 --accumulate 2 --learning-rate 1.5e-3 --warm-up 50 \
  --decoder-dropout 0.25 --seed 3 --init "$work/acoustic_fourth"
# First the plain spectral losses, which converge fast; then as an energy distance, against buzz; then on what the
# acoustic model says, so that the vocoder gives back what that smoothes away.
train vocoder_first --stage vocoder --updates 2000 --batch-size 16 --accumulate 1 --energy-distance-weight 0
train vocoder_second --stage vocoder --updates 1600 --batch-size 16 --accumulate 1 --energy-distance-weight 0.5 \
  --learning-rate 6e-4 --init "$work/vocoder_first"
train vocoder_third --stage vocoder --updates 900 --batch-size 16 --accumulate 1 --energy-distance-weight 0.5 \
  --learning-rate 4e-4 --warm-up 30 --teacher-forced "$work/acoustic" --init "$work/vocoder_second"
# At 4 bit, which halves the file and is inaudible.
train vocoder --stage vocoder --updates 1200 --batch-size 16 --accumulate 1 --energy-distance-weight 0.5 --learning-rate 5e-4 \
  --warm-up 30 --weight-bits 4 --teacher-forced "$work/acoustic" --init "$work/vocoder_third"
"$python" -m bitjets_mlx.pack --acoustic "$work/acoustic" --vocoder "$work/vocoder" --output "$work/duo" --trainable
"$python" -m bitjets_mlx.evaluate --voice "$work/duo" --data "$work/prepared" --split validation --json "$work/duo.json"
"$python" -m bitjets_mlx.pack --acoustic "$work/acoustic" --vocoder "$work/vocoder" --output "$root/weights/duo" \
  --trainable --measured "$work/duo.json" --notes "$root/scripts/duo_notes.md"
