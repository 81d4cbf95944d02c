#!/usr/bin/env bash
# Makes trained weights for the place of weights/mini, which still are those of mini_untrained.py, from nothing but
# seeds: backbones, then heads on the features of the same simulated routines, then one look at a style that no step
# before has seen. About an hour and a half on two cores; run it again to go on where it stopped.
#
#     weights/recipe/mini.sh WORK
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:?a folder to work in}

# Keeping freed memory makes a step a fifth faster.
MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 python "$here/pretrain.py" "$work/backbones"
python "$here/features.py" "$work/backbones"
mlavl train manifest "$work/backbones/routines/manifest.csv" --backbones "$work/backbones" --output "$work/mini" \
    --range TES=0:90 --range PCS=0:50 --width 64 --epochs 16 --batch-size 32 --licence MIT \
    --trained-on "480 simulated routines (mlavl synthesize): drawn figures, made-up music. A demonstration, not a judge."
mlavl synthesize "$work/test" --count 60 --seed 3000 --style gala --split test
mlavl evaluate simulated "$work/test" --weights "$work/mini" --save

# weights/demo.mp4, true TES 16.50, PCS 32.24:
# mlavl synthesize demo --count 1 --seed 8 --style pond --size 320x180 --seconds 30:30 --fidelity 0.8:1
