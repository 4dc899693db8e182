#!/usr/bin/env bash
# scripts/make_samples.sh PREPARED [VOICE]: writes docs/samples anew, 12 held-back sentences per speaker, recording and
# synthesis, as a page that plays them. VOICE is weights/duo unless given.
set -eu
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$root/scripts/setup.sh"
[ $# -eq 1 ] || [ $# -eq 2 ] || fail "give the folder that prepare wrote: scripts/make_samples.sh PREPARED [VOICE]"
set_up requirements-speak.txt requirements.txt
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m bitjets_mlx.samples --voice "${2:-$root/weights/duo}" --data "$1" --out "$root/docs/samples"
