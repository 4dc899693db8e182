#!/usr/bin/env bash
# scripts/speak.sh "text" [more flags of bitjets_mlx.generate]: speaks into out.wav in the current folder.
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$root/scripts/setup.sh"

[ $# -ge 1 ] || fail 'there is no text: run scripts/speak.sh "Generative AI on the edge is the future."'
text="$1"
shift
set_up requirements-speak.txt
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m bitjets_mlx.generate "--text=$text" --output out.wav ${1+"$@"}
