#!/usr/bin/env bash
# Everything that a user could pick, on this machine's GPU: benchmarks/run_gpu.sh FOLDER
# Leaves FOLDER/doctor.txt, FOLDER/gpu.json, the pictures beside it, and the page FOLDER/gpu.html.
# Under ten minutes.
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

mkdir -p "$out"
# First, so that a driver that is too old is named at once. What is missing costs its own rows, each with
# its reason in the record: no cause to stop.
refinenet doctor 2>&1 | tee "$out/doctor.txt" || echo "refinenet doctor failed"
refinenet export lw-mobilenetv2-camvid --output "$folder" --size 360x480
# A package that cannot build or run here costs its own rows and no others.
refinenet build "$folder"/*.onnx --runtime rtx || echo "not built: TensorRT-RTX"
if python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("tensorrt") is None)'; then
  refinenet build "$folder"/*.onnx --runtime tensorrt || echo "not built: TensorRT"
fi
refinenet benchmark "$folder" --weights lw-mobilenetv2-camvid "${images[@]}" --against all \
  --scenario single,server,offline --latency-bound 33 \
  --seconds 0.3 --rounds 6 --limit-seconds 60 --roofline --pictures --json "$out/gpu.json"
refinenet report "$out/gpu.json" --html "$out/gpu.html"
