#!/usr/bin/env bash
# scripts/quantization.sh PREPARED WORK [UPDATES]: the runs, evaluations and sounds behind docs/quantization.md (WORK
# takes 1 GB). About three hours on two cores with the default of 600 updates. Killed, it goes on when called again.
set -eu
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$root/scripts/setup.sh"
[ $# -ge 2 ] || fail "give prepared data and a folder to work in: scripts/quantization.sh PREPARED WORK [UPDATES]"
data="$1"
work="$2"
updates="${3:-600}"
set_up requirements-speak.txt requirements.txt requirements-dev.txt
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$work"

# train NAME STAGE flags...: the run WORK/NAME, begun or gone on with.
train() {
  local run="$work/$1" stage="$2"
  shift 2
  if [ -e "$run/config.json" ]; then
    "$python" -m bitjets_mlx.train --data "$data" --out "$run" --stage "$stage" --resume
  else
    "$python" -m bitjets_mlx.train --data "$data" --out "$run" --stage "$stage" --warm-up 30 "$@"
  fi
}

# measure NAME flags of pack...: packs WORK/NAME.voice and writes WORK/NAME.json.
measure() {
  local name="$1"
  shift
  [ ! -e "$work/$name.json" ] || return 0
  [ -e "$work/$name.voice" ] || "$python" -m bitjets_mlx.pack --output "$work/$name.voice" "$@"
  "$python" -m bitjets_mlx.evaluate --voice "$work/$name.voice" --data "$data" --json "$work/$name.json"
}

# speak NAME flags of generate...: docs/quantization/NAME_<speaker>.ogg.
speak() {
  local name="$1" speaker wav="$work/sample.wav"
  shift
  for speaker in kathleen lj; do
    "$python" -m bitjets_mlx.generate "$@" --speaker "$speaker" --output "$wav" \
      --text "A voice of a few megabytes, with weights of minus one, zero and one, runs anywhere."
    "$python" - "$wav" "$root/docs/quantization/${name}_$speaker.ogg" << 'EOF'
import sys

import soundfile

soundfile.write(sys.argv[2], *soundfile.read(sys.argv[1]), format="OGG", subtype="VORBIS")
EOF
  done
}

# The acoustic model: one start in full precision, then as many updates again at each precision.
acoustic="acoustic --accumulate 2 --learning-rate 1e-3 --updates $updates --decoder-dropout 0.1"
train jets_fp $acoustic --full-precision --init "$root/weights/duo_trainable"
for precision in full-precision weight-bits=4 ternary; do
  name="acoustic_${precision#weight-bits=}"
  train "$name" $acoustic "--$precision" --init "$work/jets_fp"
  measure "$name" --acoustic "$work/$name" --vocoder "$root/weights/duo"
done

# The vocoder: as many updates at each precision, and 1.58 bit in three stages.
vocoder="vocoder --batch-size 16 --accumulate 1 --learning-rate 4e-4 --energy-distance-weight 0.25"
for bits in 8 4 1.58; do
  train "vocoder_$bits" $vocoder --updates "$updates" --weight-bits "$bits" --init "$root/weights/duo"
  measure "vocoder_$bits" --vocoder "$work/vocoder_$bits"
done
train vocoder_full $vocoder --updates "$updates" --init "$root/weights/duo"
measure vocoder_full --vocoder "$work/vocoder_full"
third=$((updates / 3))
train stage_8 $vocoder --updates "$third" --weight-bits 8 --init "$root/weights/duo"
train stage_4 $vocoder --updates "$third" --weight-bits 4 --init "$work/stage_8"
train vocoder_staged $vocoder --updates "$third" --weight-bits 1.58 --init "$work/stage_4"
measure vocoder_staged --vocoder "$work/vocoder_staged"

mkdir -p "$root/docs/quantization"
for name in full-precision 4 ternary; do
  speak "acoustic_$name" --voice "$work/acoustic_$name.voice"
done
for name in full 8 4 1.58 staged; do
  speak "vocoder_$name" --voice "$root/weights/duo" --vocoder "$work/vocoder_$name.voice"
done

"$python" "$root/scripts/quantization_tables.py" "$work"
