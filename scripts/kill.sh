#!/usr/bin/env bash
# scripts/kill.sh N: N kills of generate, pack, convert, prepare and trainings, at random moments and inside every
# rename; see tests/fuzz/kill.py.
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$root/scripts/setup.sh"

[ $# -gt 0 ] || fail "say how many kills, such as: scripts/kill.sh 100"
set_up requirements-speak.txt requirements.txt requirements-dev.txt
PYTHONPATH="$root:$root/tests" exec "$python" "$root/tests/fuzz/kill.py" "$@"
