#!/usr/bin/env bash
# What TensorRT-RTX says to this GPU, word for word. tools/gpu_visit/rtx.sh CAME KEPT OUT SECONDS
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

step unpack 240 bash "$kept/first/unpack.sh" "$came" "$kept"
step doctor 60 python3 -m refinenet doctor
step words 120 "${pytest[@]}" --cuda cuda-python -s -m gpu tests/runtime/behaviour/test_on_gpu.py \
  -k test_rtx_runs_or_says_that_it_does_not_support_this_gpu --junitxml="$results/words.xml"
step build 90 python3 -m refinenet build "$kept"/lw/*.onnx --runtime rtx
step run 60 python3 -m refinenet segment demo/china.jpg --model "$kept"/lw/lw-mobilenetv2-camvid.fp32.rtx.engine \
  --output "$results/mask.png"
step tests 120 "${pytest[@]}" --cuda cuda-python -m "gpu and not slow" tests --junitxml="$results/tests.xml"
step benchmark 120 python3 -m refinenet benchmark "$kept"/lw --weights lw-mobilenetv2-camvid --data "$camvid" \
  --limit 20 --against torch,onnxruntime-cuda --scenario single,offline --seconds 0.3 --rounds 6 \
  --limit-seconds 30 --total-seconds 110 --roofline --json "$results/benchmark.json"
