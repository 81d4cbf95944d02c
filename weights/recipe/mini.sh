#!/usr/bin/env bash
# Makes weights/mini from nothing but seeds: backbones, then heads on the features of simulated routines of 9 to 365
# seconds, then on those of mp4 files in other styles, then what the bundle knows of its domain, and one look at a style
# that no step before has seen. Run it again to go on where it stopped. WORK/mini without its runs/ is weights/mini.
#
#     weights/recipe/mini.sh WORK
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:?a folder to work in}

# Keeping freed memory makes a step a fifth faster.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592
python "$here/pretrain.py" "$work/first"
python "$here/second.py" "$work/first" "$work/backbones"
python "$here/features.py" "$work/backbones" "$work/routines"

# MAG2 and its readings don't depend on T; TES, a total, is told it. Without dropout the attention over 280 clips is
# three times as fast.
heads() {
    mlavl train manifest "$@" --backbones "$work/backbones" --range TES=0:130 --range PCS=0:50 --width 96 --temporal-conv 3 \
        --consistency-decay 4 --graph even --dropout 0 --half --licence MIT \
        --trained-on "4290 simulated routines (mlavl synthesize): drawn figures, made-up music. A demonstration, not a judge."
}
# At first consistency and score together, on 900 routines of all lengths.
first() {
    heads "$work/routines/first.csv" --output "$work/first-heads" --batch-size 32 --align-epochs 6 --lambda-c 1 \
        --mse-weight 50 "$@"
}
# Then mostly the score, with 1,600 short routines more; one step in four keeps what was learned of consistency.
then_more() {
    heads "$work/routines/manifest.csv" --output "$work/more-heads" --start-from "$work/first-heads" "${scores_first[@]}" "$@"
}
# The same on mp4 files: at 24, 25 and 30 frames/s, three in four in styles that the backbones never saw, whose features
# are less sure. Heads that know only the styles of their backbones think too little of others.
as_filmed() {
    heads "$work/filmed/manifest.csv" --features "$work/filmed/features" --output "$work/mini" \
        --start-from "$work/more-heads" "${scores_first[@]}" --epochs 6 "$@"
}
scores_first=(--batch-size 16 --lr 3e-4 --lambda-c 4 --consistency-every 4 --mse-weight 50)
others=(--style pond --style harbour --style school)
first --target IN --epochs 6  # and what all targets but TES begin with
# So small heads gain little from a second core; two runs at once do.
export OMP_NUM_THREADS=1
(first --target TES --total TES --mse-weight 100 --epochs 6 && first --target CO --epochs 7) &
first --target PCS --epochs 5
for target in PE SS TR; do first --target $target --epochs 4; done
wait
(then_more --target CO --epochs 6 && then_more --target TES --total TES --mse-weight 100 --epochs 7 \
    && then_more --target SS --epochs 5) &
for target in PCS IN; do then_more --target $target --epochs 6; done
for target in PE TR; do then_more --target $target --epochs 5; done
wait
film() { mlavl synthesize "$work/filmed" --size 320x180 "$@"; }
film --count 160 --seed 8010 --seconds 20:50 --split train
film --count 40 --seed 8011 --seconds 60:140 --split train
film --count 25 --seed 8012 --seconds 140:300 --split train
film --count 120 --seed 8003 --seconds 9:30 --split train --style any
film --count 180 --seed 8004 --seconds 9:30 --split train --style any
film --count 200 --seed 8000 --seconds 30:60 --split train --style any
film --count 80 --seed 8001 --seconds 60:140 --split train --style any
film --count 25 --seed 8002 --seconds 140:300 --split train --style any
film --count 90 --seed 8100 --seconds 9:30 --split val "${others[@]}"
film --count 60 --seed 8101 --seconds 30:60 --split val "${others[@]}"
film --count 36 --seed 8102 --seconds 60:140 --split val "${others[@]}"
film --count 14 --seed 8103 --seconds 140:300 --split val "${others[@]}"
mlavl extract-features "$work/filmed" --weights "$work/backbones" --output "$work/filmed/features" --quiet
# Targets whose mean error on the split val became no smaller by it (TES, SS, TR) stay as they are.
[ -d "$work/mini" ] || { cp -r "$work/more-heads" "$work/mini" && rm -r "$work/mini/runs"; }
(for target in PE IN; do as_filmed --target $target; done) &
for target in CO PCS; do as_filmed --target $target; done
wait
unset OMP_NUM_THREADS MALLOC_MMAP_MAX_ MALLOC_TRIM_THRESHOLD_
# Where the domain ends can't be learned from pictures that never were a video.
videos() { mlavl synthesize "$work/videos" "$@"; }
videos --count 120 --seed 7000 --seconds 9:14 --split train
videos --count 60 --seed 7100 --seconds 9:14 --split val "${others[@]}"
videos --count 18 --seed 7101 --seconds 9:14 --split val "${others[@]}" --size 320x180
videos --count 6 --seed 7102 --seconds 8:10 --split val "${others[@]}" --size 1280x720
videos --count 6 --seed 7103 --seconds 8:10 --split val "${others[@]}" --fps 60
python "$here/domain.py" "$work/mini" "$work/videos"

for seconds in 20 40 90 180 280; do
    mlavl synthesize "$work/exam" --count 30 --seed $((6100 + seconds)) --style gala --seconds $seconds:$seconds \
        --size 320x180 --split test
done
mlavl evaluate simulated "$work/exam" --weights "$work/mini" --save

# weights/demo.mp4, true TES 16.50, PCS 32.24:
# mlavl synthesize demo --count 1 --seed 8 --style pond --size 320x180 --seconds 30:30 --fidelity 0.8:1
