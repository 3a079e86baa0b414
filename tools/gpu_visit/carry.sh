#!/usr/bin/env bash
# The visits that bring packages: keep what came, install what is complete, and let trainings run meanwhile.
# tools/gpu_visit/carry.sh CAME KEPT OUT SECONDS [DEVICE]
# CAME: the folder that has part-00, part-01 … DEVICE: of the trainings, cuda by default.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
device=${5:-cuda}

step unpack 240 bash "$kept/first/unpack.sh" "$came" "$kept"
step trainings 30 bash tools/gpu_visit/trainings.sh start "$kept" "$device" "$camvid" "$weights"
step trainings-so-far 10 bash tools/gpu_visit/trainings.sh show "$kept"
