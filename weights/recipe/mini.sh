#!/usr/bin/env bash
# Makes weights/mini from nothing but seeds: backbones, then heads on the features of the same simulated routines, then
# one look at a style that no step before has seen. About four hours on two cores; run it again to go on where
# it stopped. WORK/mini without its runs/ is weights/mini.
#
#     weights/recipe/mini.sh WORK
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:?a folder to work in}

# Keeping freed memory makes a step a fifth faster.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592
python "$here/pretrain.py" "$work/first"
python "$here/second.py" "$work/first" "$work/backbones"
unset MALLOC_MMAP_MAX_ MALLOC_TRIM_THRESHOLD_
python "$here/features.py" "$work/backbones" --cache "$work/first/cache"

heads() {
    mlavl train manifest "$work/backbones/routines/manifest.csv" --backbones "$work/backbones" --output "$work/mini" \
        --range TES=0:90 --range PCS=0:50 --width 96 --batch-size 32 --align-epochs 6 --lambda-c 1 --order 3 --reach 4 \
        --half --licence MIT \
        --trained-on "960 simulated routines (mlavl synthesize): drawn figures, made-up music. A demonstration, not a judge." "$@"
}
# What a whole programme decides takes longer to learn than what every clip tells.
elements() { heads --target TES --epochs 6 --mse-weight 50; }
layout() { heads --target CO --epochs 10 --mse-weight 50; }

heads --target IN --epochs 4  # and what all targets begin with
# So small heads gain little from a second core; two runs at once do.
export OMP_NUM_THREADS=1
(elements && heads --target PCS --target SS --target TR --epochs 4) &
layout
heads --target PE --epochs 4
wait
rm -f "$work/mini/bundle.json"  # written by both as they ended; now once, with all heads in their order
elements
heads --target PCS --target SS --target TR --target PE --epochs 4
layout
heads --target IN --epochs 4
unset OMP_NUM_THREADS

mlavl synthesize "$work/test" --count 60 --seed 6000 --style gala --split test
mlavl evaluate simulated "$work/test" --weights "$work/mini" --save

# weights/demo.mp4, true TES 16.50, PCS 32.24:
# mlavl synthesize demo --count 1 --seed 8 --style pond --size 320x180 --seconds 30:30 --fidelity 0.8:1
