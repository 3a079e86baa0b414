#!/usr/bin/env bash
# ONNX Runtime's CUDA provider, and the end of the trainings. tools/gpu_visit/onnxruntime.sh CAME KEPT OUT SECONDS
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

idle() { # until no process is on the card
  local busy
  while busy=$(nvidia-smi --query-compute-apps=pid --format=csv,noheader) || return 1; do
    [ -n "$busy" ] || return 0
    sleep 1
  done
}
export -f idle

trained() { # the weights as files of their own, the logs among the results
  for run in "$kept"/runs/*/; do
    name=$(basename "$run")
    [ ! -f "$run/best.safetensors" ] || cp "$run/best.safetensors" "$out/$name.safetensors"
    mkdir -p "$results/runs/$name"
    cp "$run"/log.csv "$run"/*.json "$kept/runs/$name.txt" "$results/runs/$name/" 2>/dev/null
  done
  ls "$out"
}
export -f trained
export kept out results

step end-trainings 20 bash tools/gpu_visit/trainings.sh end "$kept"
step idle 30 bash -c idle
step trained 30 bash -c trained
[ ! -d "$came" ] || step unpack 240 bash "$kept/first/unpack.sh" "$came" "$kept"
step versions 30 python3 -c 'import onnxruntime as o; print(o.__version__, o.__file__, o.get_available_providers())'
step tests 120 "${pytest[@]}" --cuda cuda-python -m gpu tests/runtime/behaviour/test_onnx_on_gpu.py tests/runtime/onnx \
  --junitxml="$results/tests.xml"
# Masks of 20 labelled frames against PyTorch's, and all times beside them.
step cuda-lw 90 python3 -m refinenet benchmark "$kept"/lw/*.onnx --weights lw-mobilenetv2-camvid --data "$camvid" \
  --limit 20 --against torch,onnxruntime-cuda --scenario single,offline --seconds 0.3 --rounds 6 \
  --limit-seconds 30 --total-seconds 80 --json "$results/cuda-lw.json"
step camvid-fp16 90 python3 -m refinenet evaluate "$kept"/lw/*.fp16.onnx --provider cuda --data "$camvid" \
  --split val --json "$results/camvid-fp16.json"
