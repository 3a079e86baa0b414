#!/usr/bin/env bash
# The commands of the README, one after the other, with the shipped weights on a real photo.
set -euo pipefail
cd "$(dirname "$0")/.."
out=demo/output
rm -rf "$out"

step() {
  printf '\n$ %s\n' "$*"
  "$@"
}

step refinenet export lw-mobilenetv2-camvid --output "$out" --size 360x480
step refinenet build "$out"/*.onnx
step refinenet verify "$out" --weights lw-mobilenetv2-camvid --images demo/china.jpg
step refinenet benchmark "$out" --weights lw-mobilenetv2-camvid --images demo/china.jpg \
  --seconds 1 --rounds 2 --json "$out"/benchmark.json
step refinenet segment demo/china.jpg --model "$out"/lw-mobilenetv2-camvid.int8.onnx \
  --output "$out"/china.png
step refinenet segment demo/china.jpg --model "$out"/lw-mobilenetv2-camvid.int8.onnx \
  --output "$out"/china.overlay.jpg --overlay

printf '\nmade:\n'
find "$out" -type f ! -name '*.card.json' | sort | sed 's/^/  /'
