#!/usr/bin/env bash
# On a machine with a network, before the visit: tools/gpu_visit/pack.sh FOLDER
# FOLDER/first and FOLDER/part-00 … as ../shared/gpu/pack.sh packs them. Added to first/: the references that the
# tests on a GPU read, which are TensorRT's names and signatures and a street, and the commit, since git's own
# folder stays here.
set -euo pipefail
cd "$(dirname "$0")/../.."
../shared/gpu/pack.sh "$1"
tar cf "$1/first/references.tar" -C ../shared reference/tensorrt-api data/samples/street_kitti_000099.jpg
git describe --always --dirty --abbrev=40 >"$1/first/commit"
du -sh "$1/first"
