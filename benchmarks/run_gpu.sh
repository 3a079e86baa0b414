#!/usr/bin/env bash
# Everything that a user could pick, on this machine's GPU: benchmarks/run_gpu.sh FOLDER
# Leaves FOLDER/doctor.txt, FOLDER/gpu.json with the pictures beside it, FOLDER/gpu-server.json, and the page
# of both, FOLDER/gpu.html. Under ten minutes: what is measured gets what exporting and building left of them.
# Labelled CamVid images where ../shared/data has them, the demo's photo elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
folder=build/benchmark-gpu
data=../shared/data/camvid
images=(--images demo/china.jpg)
if [ -d "$data" ]; then
  images=(--data "$data" --dataset camvid --split val --limit 20)
fi

# Seconds until this script is so old; never none, or there would be no record at all.
left_of() {
  echo $(($1 > SECONDS + 10 ? $1 - SECONDS : 10))
}

mkdir -p "$out"
rm -f "$out/gpu.json" "$out/gpu-server.json"
# First, so that a driver that is too old is named at once. What is missing costs its own rows, each with
# its reason in the record: no cause to stop.
refinenet doctor 2>&1 | tee "$out/doctor.txt" || echo "refinenet doctor failed"
refinenet export lw-mobilenetv2-camvid --output "$folder" --size 360x480
# A package that cannot build or run here costs its own rows and no others.
refinenet build "$folder"/*.onnx --runtime rtx || echo "not built: TensorRT-RTX"
if python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("tensorrt") is None)'; then
  refinenet build "$folder"/*.onnx --runtime tensorrt || echo "not built: TensorRT"
fi
code=0
refinenet benchmark "$folder" --weights lw-mobilenetv2-camvid "${images[@]}" --against all \
  --scenario single,offline --seconds 0.3 --rounds 6 --limit-seconds 60 --total-seconds $(left_of 380) \
  --roofline --pictures --json "$out/gpu.json" || code=$?

# Eight rates of 1000 arrivals take a backend of 300 frames a second half a minute: for FP16 alone there is time.
shopt -s nullglob
refinenet benchmark "$folder"/*.fp16.onnx "$folder"/*.fp16.*engine --weights lw-mobilenetv2-camvid \
  "${images[@]}" --against torch,onnxruntime-cuda,onnxruntime-tensorrt,onnxruntime-rtx --scenario server \
  --latency-bound 33 --seconds 0.3 --total-seconds $(left_of 550) --json "$out/gpu-server.json" ||
  echo "not measured: server"
records=()
for record in "$out/gpu.json" "$out/gpu-server.json"; do
  if [ -f "$record" ]; then
    records+=("$record")
  fi
done
if [ ${#records[@]} -gt 0 ]; then # also where nothing could run: the page says why
  refinenet report "${records[@]}" --html "$out/gpu.html"
fi
exit $code
