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
right_version = (3, 10) <= sys.version_info[:2] <= (3, 14)
# MLX has no wheel for an Intel Python, which an Apple Silicon Mac would run by translation.
right_machine = sys.platform != "darwin" or platform.machine() == "arm64"
sys.exit(0 if right_version and right_machine and sys.maxsize > 2**32 else 1)
PYTHON
}

# Prints the path of a usable Python, from the PATH or from where installers put them.
find_python() {
  local minor name candidate
  for minor in 12 11 13 14 10; do
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

# Makes "$root/.venv" hold the packages of the requirements files named, and sets `python`. Quick and offline when
# nothing changed since the last time.
set_up() {
  local venv="$root/.venv" missing="" file
  python="$venv/bin/python"
  for file in "$@"; do
    cmp -s "$root/$file" "$venv/.installed-$file" || missing="$missing $file"
  done
  if [ -e "$venv/.installing" ] || ! works "$venv"; then
    make_venv "$venv"
    missing="$*"
  fi
  for file in $missing; do
    printf 'installing %s (once, needs the network) ...\n' "$file" >&2
    install_requirements "$file"
  done
}

# Whether the environment $1 is whole: its Python runs, and so does its pip.
works() {
  [ -x "$1/bin/python" ] && usable_python "$1/bin/python" && [ -n "$(ls -d "$1"/lib/python3*/site-packages/pip 2>/dev/null)" ]
}

make_venv() {
  local found
  if [ -n "${BITJETS_PYTHON:-}" ]; then
    found="$BITJETS_PYTHON"
    usable_python "$found" || fail "BITJETS_PYTHON is $found, which is no Python 3.10 to 3.14 with venv: unset it, or set it to one."
  else
    found="$(find_python)" || fail "no Python 3.10 to 3.14 with venv was found: install one (macOS: brew install python@3.12; Debian: apt install python3-venv), or set BITJETS_PYTHON to it."
  fi
  printf 'making .venv with %s ...\n' "$found" >&2
  rm -rf "$1" || fail "$1 is broken and cannot be removed: remove it by hand."
  if ! "$found" -m venv "$1" >/dev/null 2>&1; then
    rm -rf "$1"
    fail "$found could not make $1: is the disk full, or the folder read-only?"
  fi
}

# A copy of the file in .venv says that all of it was installed. `.installing` stays behind only where this was killed:
# what pip left then cannot be told from a whole package, so the environment is made anew.
install_requirements() {
  local venv="$root/.venv"
  local log="$venv/install.log"
  touch "$venv/.installing" || fail "$venv cannot be written to: is the disk full?"
  if "$python" -m pip install --disable-pip-version-check --retries 2 --timeout 20 -r "$root/$1" >"$log" 2>&1; then
    cp "$root/$1" "$venv/.installed-$1" || fail "$venv cannot be written to: is the disk full?"
    rm -f "$venv/.installing"
    return 0
  fi
  rm -f "$venv/.installing"
  if grep -qiE 'no space left|quota exceeded' "$log"; then
    fail "the disk is full while installing $1: free some 2 GB, then run this again."
  elif grep -qiE 'NewConnection|ConnectTimeout|ReadTimeout|ProxyError|SSLError|name resolution|network is unreachable|connection (refused|reset|aborted|broken)' "$log"; then
    fail "the packages of $1 could not be fetched: is there a network? (.venv/install.log says more)"
  fi
  fail "the packages of $1 could not be installed on this system: .venv/install.log says why."
}
