#!/usr/bin/env bash
# The first visit: all that needs no package. tools/gpu_visit/cuda.sh CAME KEPT OUT SECONDS
# CAME: the folder that has first/. See docs/gpu-visit.md.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

keep() {
  [ ! -d "$came/first" ] || cp -r "$came/first" "$kept/"
  mkdir -p ../shared/data
  tar xf "$kept/first/camvid.tar" -C ../shared/data
  tar xf "$kept/first/references.tar" -C ../shared
}

build_pycuda() { # into a folder that no path names until it is whole
  export PATH=$PATH:/usr/local/cuda/bin
  python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$kept/pycuda" "$kept"/first/*.whl &&
    python3 -m pip install --quiet --no-index --no-deps --no-build-isolation --no-compile --target "$kept/pycuda" \
      "$kept"/first/pycuda-*.tar.gz
}

export_models() {
  python3 -m refinenet export lw-mobilenetv2-camvid --output "$kept/lw" --size 360x480 --precision fp32,fp16 &&
    python3 -m tools.variants.generated_weights refinenet-101 "$kept/refinenet-101.safetensors" demo/china.jpg &&
    python3 -m refinenet export "$kept/refinenet-101.safetensors" --output "$kept/rf101" --dynamic \
      --precision fp32
}
export -f keep build_pycuda export_models
export came kept

step card 30 nvidia-smi
step card-details 30 nvidia-smi -q
step keep 60 bash -c keep
step commit 10 cat "$kept/first/commit"
step packages 60 python3 -m pip list
# PyCUDA is compiled on the CPU while tests and exports run, which time nothing closely. A build that takes longer
# than half of the stage is given up: the rest of the stage is worth more.
timeout $((deadline / 2)) bash -c build_pycuda >"$results/build-pycuda.log" 2>&1 &
pycuda=$!
step doctor 60 python3 -m refinenet doctor
step tests-cuda-python 150 "${pytest[@]}" --cuda cuda-python -m "gpu and not slow" tests/runtime tests/support \
  --junitxml="$results/tests-cuda-python.xml"
step export 120 bash -c export_models
code=0
wait $pycuda || code=$?
[ $code -eq 0 ] || failed=1
say "build-pycuda: exit code $code, done $SECONDS s after the start"

export PYTHONPATH=$PYTHONPATH:$kept/pycuda

# From here on nothing else runs.
step frame-cost-cuda-python 90 python3 -m tools.gpu_visit.frame_cost --json "$results/frame-cost-cuda-python.json"
step python-share 60 python3 -m tools.python_share --json "$results/python-share.json"
step tests-pycuda 120 "${pytest[@]}" --cuda pycuda -m "gpu and not slow" tests/runtime/behaviour \
  --junitxml="$results/tests-pycuda.xml"
step frame-cost-pycuda 90 python3 -m tools.gpu_visit.frame_cost --cuda pycuda --json "$results/frame-cost-pycuda.json"
rows torch-lw 110 60 torch,torch-autocast "${lw[@]}"
rows torch-rf101 150 80 torch,torch-autocast "${rf101[@]}"
