#!/usr/bin/env bash
# scripts/test.sh [arguments for pytest]: style, types, then every test (the layers of imports among them).
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
. "$root/scripts/setup.sh"

set_up requirements-speak.txt requirements.txt requirements-serve.txt requirements-dev.txt
cd "$root" || fail "$root cannot be entered."
failed=0
"$python" -m ruff check . || failed=1
"$python" -m ruff format --check . || failed=1
"$python" -m mypy || failed=1
"$python" -m pytest ${1+"$@"} || failed=1
exit $failed
