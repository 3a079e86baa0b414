#!/usr/bin/env bash
# The commands of the README, one after the other, with the shipped weights on a real photo.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf demo/output

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

run refinenet export lw-mobilenetv2-camvid --output demo/output --size 360x480
run refinenet build demo/output/*.onnx
run refinenet verify demo/output --weights lw-mobilenetv2-camvid --images demo/china.jpg
run refinenet benchmark demo/output --weights lw-mobilenetv2-camvid --images demo/china.jpg --seconds 1 --json demo/output/benchmark.json
run refinenet segment demo/china.jpg --model demo/output/lw-mobilenetv2-camvid.int8.onnx --output demo/output/china.mask.png
run refinenet segment demo/china.jpg --model demo/output/lw-mobilenetv2-camvid.int8.onnx --output demo/output/china.overlay.png --overlay --legend

printf '\nmade, each with its card:\n'
find demo/output -type f ! -name '*.card.json' | sort | sed 's/^/  /'
