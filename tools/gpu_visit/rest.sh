#!/usr/bin/env bash
# What is worth the time that is left, after the first visit. tools/gpu_visit/rest.sh CAME KEPT OUT SECONDS
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

step tests-slow 90 "${pytest[@]}" --cuda cuda-python -m "gpu and slow" tests/runtime/behaviour \
  --junitxml="$results/tests-slow.xml"
# A compiler takes what it takes. A step whose time is up leaves no record.
rows compiled-lw 120 60 torch-compile "${lw[@]}"
rows compiled-rf101 180 80 torch-compile "${rf101[@]}"
