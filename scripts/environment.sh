# Functions for the scripts beside this file, which source it; POSIX sh.
#
# PYTHON names the Python to use (default: the newest on PATH of those that are tested,
# 3.11 to 3.13; else what python3 is, if it is later).
# VENV names the virtual environment (default: .venv in the checkout, or, where the
# checkout cannot be written, one in the user's cache).

say() {
    printf '==> %s\n' "$*"
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# new_enough PYTHON: it runs and is 3.11 or later (a shim on PATH may do neither)
new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3 python python3.14}; do
        if found=$(command -v "$name") && new_enough "$found"; then
            printf '%s\n' "$found"
            return
        fi
    done
    die "there is no Python 3.11 or later on PATH; PYTHON=/path/to/python names one elsewhere"
}

# user_cache: a directory of this user's own, made where it is missing
user_cache() {
    for directory in "${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/pytest-testbed" "${TMPDIR:-/tmp}/pytest-testbed-$(id -u)"; do
        if (umask 077 && mkdir -p "$directory") 2>/dev/null && [ -O "$directory" ] && [ -w "$directory" ]; then
            printf '%s\n' "$directory"
            return
        fi
    done
    die "neither the home directory nor ${TMPDIR:-/tmp} can be written"
}

# has_pip VENV
has_pip() {
    "$1/bin/python" -m pip --version >/dev/null 2>&1
}

# make_venv PYTHON VENV: in each way that a machine may offer, best first
make_venv() {
    say "making a virtual environment in $2 with $("$1" --version)"
    if "$1" -m venv "$2" >/dev/null 2>&1 && has_pip "$2"; then
        return
    fi
    # Debian and Ubuntu keep what it needs in a package of its own (python3-venv)
    if command -v uv >/dev/null && uv venv --quiet --clear --seed --python "$1" "$2" && has_pip "$2"; then
        return
    fi
    if "$1" -m virtualenv --quiet --clear "$2" >/dev/null 2>&1 && has_pip "$2"; then
        return
    fi
    "$1" -m venv --clear --without-pip "$2" || die "$1 can make no virtual environment"
    if "$1" -m pip --version >/dev/null 2>&1; then
        say "this Python has no ensurepip: its own pip puts one into $2"
        if "$1" -m pip --python "$2/bin/python" install --quiet pip && has_pip "$2"; then
            return
        fi
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "this Python has neither ensurepip nor pip: installing the package python3-venv"
        if apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv >/dev/null &&
            "$1" -m venv --clear "$2" >/dev/null 2>&1 && has_pip "$2"; then
            return
        fi
    fi
    url=${GET_PIP_URL:-https://bootstrap.pypa.io/get-pip.py}
    say "this Python has neither ensurepip nor pip: fetching $url"
    if "$2/bin/python" -c "import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1], timeout=60).read())" \
        "$url" >"$2/get-pip.py" && "$2/bin/python" "$2/get-pip.py" --quiet && has_pip "$2"; then
        return
    fi
    die "no pip could be put into $2; install python3-venv (or python3-pip, or virtualenv), and run this again"
}

# set_up NAME PIP-ARGUMENT…: enter the checkout; make the environment and install into it what is missing.
# Sets $python, and $cache: where pytest may keep its own cache.
set_up() {
    cd "$(dirname "$0")/.."
    name=$1
    shift
    if [ -n "${VENV:-}" ]; then
        venv=$VENV
    elif [ -w . ]; then
        venv=$PWD/.venv
    else
        venv=$(user_cache)/venv-$(printf '%s' "$PWD" | cksum | cut -d ' ' -f 1)
    fi
    case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
    python=$venv/bin/python
    cache=$venv/pytest-cache
    if ! new_enough "$python" || ! has_pip "$venv"; then
        found=$(find_python)
        if [ -e "$venv" ]; then
            [ -e "$venv/pyvenv.cfg" ] || die "$venv is there and is no virtual environment"
            rm -r "$venv"
        fi
        make_venv "$found" "$venv"
    fi
    facts="$(cat pyproject.toml examples/*/pyproject.toml | cksum) $PWD $*"
    if [ "$(cat "$venv/installed-$name" 2>/dev/null)" != "$facts" ]; then
        say "installing into $venv (takes a minute or two)"
        export PIP_DISABLE_PIP_VERSION_CHECK=1
        case " $* " in *" --group "*) pip_install "pip>=25.1" ;; esac # older ones know no groups
        pip_install "$@"
        printf '%s\n' "$facts" >"$venv/installed-$name"
    fi
}

# pip_install PIP-ARGUMENT…: without a network it ends soon, and says what to do
pip_install() {
    PIP_RETRIES=${PIP_RETRIES:-1} "$python" -m pip install --quiet "$@" || die "pip could not install $*
  Its own words stand above. It fetches packages from $(package_index), which needs a network, once:
  run this again where that can be reached. PIP_INDEX_URL=https://… names a mirror,
  PIP_NO_INDEX=1 PIP_FIND_LINKS=/a/folder a folder of wheels."
}

# package_index: where pip looks, without the password that may stand in it
package_index() {
    index=${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2>/dev/null || echo https://pypi.org/simple)}
    printf '%s\n' "$index" | sed 's|//[^/@]*@|//***@|'
}
