#!/usr/bin/env bash
# scripts/train_hifigan.sh SPEECH WORK [more flags of bitjets_mlx.train]: trains a HiFi-GAN and makes a vocoder folder.
# Every folder in SPEECH with a metadata.csv is a speaker, in LJSpeech layout. WORK takes the prepared features, the run
# and the vocoder: `generate --vocoder WORK/hifigan_voice` speaks with it. Killed, it goes on where it was when called
# again with the same flags. The generator is V3, which is the fastest; `--vocoder hifigan-v2` is the smallest.
# On a GPU as in the paper, against its own discriminators; on a CPU the generator first learns from mels alone, since
# that takes a third of the time, and then against small discriminators: two hours or so on two idle cores.
set -eu
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$root/scripts/setup.sh"
[ $# -ge 2 ] || fail "give the folder of recordings and a folder to work in: scripts/train_hifigan.sh SPEECH WORK"
speech="$1"
work="$2"
shift 2
set_up requirements-speak.txt requirements.txt requirements-dev.txt
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

speakers=()
for table in "$speech"/*/metadata.csv; do
  [ -e "$table" ] || fail "$speech has no folder with a metadata.csv: give a folder of recordings in LJSpeech layout."
  folder="$(dirname "$table")"
  speakers+=(--speaker "$(basename "$folder")=$folder")
done
"$python" -m bitjets_mlx.prepare "${speakers[@]}" --out "$work/prepared"

if "$python" -c 'import sys; from bitjets_mlx.training.shards import on_cpu; sys.exit(not on_cpu())'; then
  plan=(--updates 4000 --batch-size 8 --learning-rate 5e-4 --adversarial-from 0.5)
else
  plan=(--updates 400000)
fi
run="$work/hifigan"
begun=()
if [ -e "$run/config.json" ]; then
  begun=(--resume)
fi
# Later flags win; those that a run was begun with may be given again when it goes on.
"$python" -m bitjets_mlx.train --stage vocoder --vocoder hifigan-v3 --data "$work/prepared" --out "$run" \
  --pesq --validate-every 250 "${plan[@]}" ${1+"$@"} ${begun[@]+"${begun[@]}"}
"$python" -m bitjets_mlx.report "$run"
"$python" -m bitjets_mlx.pack --vocoder "$run" --output "$work/hifigan_voice"
"$python" -m bitjets_mlx.evaluate --voice "$work/hifigan_voice" --data "$work/prepared" --split validation \
  --json "$work/hifigan.json"
"$python" -m bitjets_mlx.pack --vocoder "$run" --output "$work/hifigan_voice" --measured "$work/hifigan.json"
printf 'curves, PESQ and STOI over the updates among them: %s\n' "$run/report/losses.png"
