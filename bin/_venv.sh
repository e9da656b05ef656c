# Sourced by the scripts beside it: makes .venv when there is none and installs the project into it.
# ensure_venv [EXTRA,...]: installs again only when setup.cfg or the wanted extras have changed.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python="$project/.venv/bin/python"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    echo "rocketmq_tx needs Python 3.10 or newer; none was found. Set PYTHON to one." >&2
    return 1
}

ensure_venv() {
    local extras="${1:-}" wanted stamp="$project/.venv/.installed"
    if [ ! -x "$python" ]; then
        local base
        base=$(find_python) || return 1
        echo "Making .venv with $("$base" --version)" >&2
        "$base" -m venv "$project/.venv" || return 1
    fi
    wanted="$(cksum < "$project/setup.cfg") ${extras}"
    case "$(cat "$stamp" 2>/dev/null)" in
        "$wanted"*) return 0 ;;
    esac
    # A plain install asks for less than an install with extras that is already there.
    if [ -z "$extras" ] && [ "$(cut -d' ' -f1,2 "$stamp" 2>/dev/null)" = "$(echo "$wanted" | cut -d' ' -f1,2)" ]; then
        return 0
    fi
    echo "Installing rocketmq_tx into .venv" >&2
    "$python" -m pip install --quiet --disable-pip-version-check -e "$project${extras:+[$extras]}" >&2 || return 1
    printf '%s\n' "$wanted" > "$stamp"
}
