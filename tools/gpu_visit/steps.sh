# Sourced by the stages of a visit: the folders, and one step after the other.
#   kept     stays from visit to visit: what was brought, installed, exported, trained
#   results  what this stage leaves; after every step it is packed anew into OUT/STAGE.tar.gz
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
stage=$(basename "$0" .sh)
if [ $# -lt 4 ]; then
  echo "$stage.sh was given $# arguments; expected CAME KEPT OUT SECONDS. See docs/gpu-visit.md" >&2
  exit 2
fi
came=$1 kept=$2 out=$3 deadline=$4 # in seconds from now, for the whole stage
mkdir -p "$kept" "$out"
kept=$(cd "$kept" && pwd) out=$(cd "$out" && pwd)
results=$kept/results/$stage
mkdir -p "$results"
failed=0
camvid=$(dirname "$PWD")/shared/data/camvid
weights=$(dirname "$PWD")/shared/data/weights
# Each stage of packages comes first on the path as soon as unpack.sh has installed it.
export PYTHONPATH=$kept/site:$PWD:$PWD/tests/support PYTHONUNBUFFERED=1
pytest=(python3 -m pytest -q -o filterwarnings=default -p no:cacheprovider)

# step NAME LIMIT COMMAND…: run it for at most LIMIT seconds, its output in results/NAME.log. Nothing that goes
# wrong in it stops the stage, whose exit code is 1 then. Exit code 124: its time was up.
step() {
  local name=$1 limit=$2 started=$SECONDS code=0 left=$((deadline - SECONDS))
  shift 2
  if [ "$left" -lt 10 ]; then
    say "$name: NOT RUN, $left s are left"
    failed=1
    return
  fi
  timeout --kill-after=5 $((limit < left ? limit : left)) "$@" >"$results/$name.log" 2>&1 || code=$?
  [ $code -eq 0 ] || failed=1
  say "$name: exit code $code, $((SECONDS - started)) s"
  tail -n 4 "$results/$name.log"
  pack
}

say() {
  echo "== $1" | tee -a "$results/steps.txt"
}

pack() {
  tar czf "$out/$stage.tar.gz.part" -C "$kept/results" "$stage" && mv "$out/$stage.tar.gz.part" "$out/$stage.tar.gz"
}

# rows NAME LIMIT SECONDS BACKENDS MODEL…: a benchmark that begins no round after SECONDS
rows() {
  local name=$1 limit=$2 seconds=$3 against=$4
  shift 4
  step "$name" "$limit" python3 -m refinenet benchmark --against "$against" --scenario single,offline --seconds 0.3 \
    --rounds 5 --limit-seconds 30 --total-seconds "$seconds" --roofline --json "$results/$name.json" "$@"
}
lw=("$kept/lw/lw-mobilenetv2-camvid.fp32.onnx" --weights lw-mobilenetv2-camvid --data "$camvid" --limit 20)
# Few rounds: ONNX Runtime's CPU row takes about half a second a frame.
rf101=("$kept/rf101/refinenet-101.fp32.onnx" --weights "$kept/refinenet-101.safetensors" --images demo/china.jpg
  --size 512x512 --batch 1,8 --rounds 3)

ended() {
  say "$stage: $SECONDS s"
  pack
  exit $failed
}
trap ended EXIT
