#!/usr/bin/env bash
# scripts/fuzz.sh N [options of tests/fuzz/fuzz.py]: N inputs for each format. A failure is shrunk and kept in
# fuzz-failures/, with what happened beside it.
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$root/scripts/setup.sh"

[ $# -gt 0 ] || fail "say how many inputs for each format, such as: scripts/fuzz.sh 1000 --workers 4"
set_up requirements-speak.txt requirements.txt requirements-dev.txt
exec "$python" "$root/tests/fuzz/fuzz.py" "$@"
