# Sourced by the other scripts, which set `root`: finds a Python and makes the repository's own .venv.
# Bash 3.2 and BSD tools are enough.

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Whether $1 is a Python that the packages exist for, with the modules that make an environment.
usable_python() {
  "$1" - >/dev/null 2>&1 <<'PYTHON'
import platform, sys
import ensurepip, venv
right_version = (3, 10) <= sys.version_info[:2] <= (3, 13)
# MLX has no wheel for an Intel Python, which an Apple Silicon Mac would run by translation.
right_machine = sys.platform != "darwin" or platform.machine() == "arm64"
sys.exit(0 if right_version and right_machine and sys.maxsize > 2**32 else 1)
PYTHON
}

# Prints the path of a usable Python, from the PATH or from where installers put them.
find_python() {
  local minor name candidate
  if [ -n "${BITJETS_PYTHON:-}" ]; then
    usable_python "$BITJETS_PYTHON" && printf '%s\n' "$BITJETS_PYTHON" && return 0
    fail "BITJETS_PYTHON is $BITJETS_PYTHON, which is no Python 3.10 to 3.13 with venv: set it to one, or unset it."
  fi
  for minor in 12 11 13 10; do
    name="python3.$minor"
    for candidate in \
      "$(command -v "$name" 2>/dev/null)" \
      "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python3 \
      "/opt/homebrew/bin/$name" \
      "/opt/homebrew/opt/python@3.$minor/bin/$name" \
      "/usr/local/bin/$name" \
      "/usr/local/opt/python@3.$minor/bin/$name" \
      "/Library/Frameworks/Python.framework/Versions/3.$minor/bin/python3" \
      "/opt/local/bin/$name" \
      "$HOME/.local/bin/$name" \
      "$HOME/.local/share/uv/python/cpython-3.$minor".*/bin/python3 \
      "/usr/bin/$name"; do
      [ -n "$candidate" ] && [ -x "$candidate" ] && usable_python "$candidate" && printf '%s\n' "$candidate" && return 0
    done
  done
  for candidate in \
    "$(command -v python3 2>/dev/null)" "$(command -v python 2>/dev/null)" \
    "$HOME/miniconda3/bin/python3" "$HOME/miniforge3/bin/python3" "$HOME/anaconda3/bin/python3" /usr/bin/python3; do
    [ -n "$candidate" ] && [ -x "$candidate" ] || continue
    # Without the command line tools, macOS's own python3 is a stub that opens a window, and it is 3.9 anyway.
    [ "$(uname)" = Darwin ] && [ "$candidate" = /usr/bin/python3 ] && continue
    usable_python "$candidate" && printf '%s\n' "$candidate" && return 0
  done
  return 1
}

# Makes "$root/.venv" hold the packages of the requirements files named. Quick and offline when nothing changed.
set_up() {
  local venv="$root/.venv" file
  python="$venv/bin/python"
  local wanted="$root/.venv/.installed"
  local missing=""
  for file in "$@"; do
    cmp -s "$root/$file" "$wanted-$file" || missing="$missing $file"
  done
  [ -z "$missing" ] && [ -x "$python" ] && "$python" -c "" 2>/dev/null && return 0
  if ! { [ -x "$python" ] && usable_python "$python" && "$python" -m pip --version >/dev/null 2>&1; }; then
    make_venv "$venv"
    missing="$*"
  fi
  # A stamp says that all of a file was installed: without it an interrupted installation is taken up again.
  for file in $missing; do
    printf 'installing %s (once, needs the network) ...\n' "$file" >&2
    install_requirements "$file"
    cp "$root/$file" "$wanted-$file" || fail "$venv cannot be written to: is the disk full?"
  done
}

make_venv() {
  local found
  found="$(find_python)" || fail "no Python 3.10 to 3.13 with venv was found: install one (macOS: brew install python@3.12; Debian: apt install python3-venv), or set BITJETS_PYTHON to it."
  printf 'making .venv with %s ...\n' "$found" >&2
  rm -rf "$1" || fail "$1 is broken and cannot be removed: remove it by hand."
  if ! "$found" -m venv "$1" >/dev/null 2>&1; then
    rm -rf "$1"
    fail "$found could not make $1: is the disk full, or the folder read-only?"
  fi
}

install_requirements() {
  local log="$root/.venv/install.log"
  if "$python" -m pip install --disable-pip-version-check --retries 2 --timeout 20 -r "$root/$1" >"$log" 2>&1; then
    return 0
  fi
  grep -v '^ ' "$log" | tail -n 5 >&2
  if grep -qi 'no space left' "$log"; then
    fail "the disk is full: free about 1.5 GB, then run this again (the whole story: .venv/install.log)."
  elif grep -qiE 'connection|resolve|network|timed out|proxy|ssl' "$log"; then
    fail "the packages of $1 could not be fetched: is there a network? (the whole story: .venv/install.log)"
  fi
  fail "the packages of $1 could not be installed: see .venv/install.log."
}
