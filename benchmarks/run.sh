#!/usr/bin/env bash
# The benchmark behind the README's table: benchmarks/run.sh RECORD.json
# Labelled CamVid images where ../shared/data has them, the demo's photo elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
record=$1
folder=build/benchmark
data=../shared/data/camvid
images=(--images demo/china.jpg)
if [ -d "$data" ]; then
  images=(--data "$data" --dataset camvid --split val --limit 20)
fi

refinenet export lw-mobilenetv2-camvid --output "$folder" --size 360x480
refinenet build "$folder"/*.onnx
refinenet benchmark "$folder" --weights lw-mobilenetv2-camvid "${images[@]}" \
  --against torch,torch-compile,aotinductor --seconds 1 --rounds 10 --limit-seconds 150 --roofline --pictures --json "$record"
