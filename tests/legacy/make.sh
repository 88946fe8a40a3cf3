#!/bin/bash
# Makes tests/legacy/*.tar.xz with the code before the rooms, commit db1ba89: run it in an empty folder
# that holds that commit's configs/, with that commit's `mufnet` first on the path.
set -e
export OMP_NUM_THREADS=1
unset MLFLOW_TRACKING_URI

mufnet phantom cohort --patients 16 --high-share 0.5 --frames 2 --clip-length 4 --pane-size 128 --seed 5
mufnet prepare cohort store

tiny="--config=configs/demo.yaml --data.store=store --data.image_size=32 --data.batch_size=8 --data.n_folds=2
    --trainer.accelerator=cpu --trainer.max_epochs=2 --model.lr_step=1 --tracking.study=legacy"
small="--model.momentum=0 --explain.enabled=false" # no buffers of momentum in the checkpoints

# a finished fit, with what it looks like where the network looks
mufnet fit --config=configs/fused.yaml $tiny --explain.draws=2 --explain.steps=3

# the same, killed outright when its first epoch is on the disk
mufnet fit --config=configs/fused.yaml $tiny --explain.enabled=false &
fit=$!
until compgen -G 'mlruns/checkpoints/*/last.ckpt' > /dev/null; do sleep 0.02; done
kill -9 $fit

# a finished cross-validation, and one that has its first fold alone
mufnet cv --config=configs/bmode.yaml $tiny $small
mufnet cv --config=configs/ceus.yaml $tiny $small --fold 0

# what is kept: no PDF, of the figures those that a report shows, of the cohort its tables
find mlruns -name '*.pdf' -delete
find mlruns -path '*/figures/*' -not -name 'test_roc_folds.png' -not -name 'test_scores.png' -delete
pack() { tar --sort=name --owner=0 --group=0 --numeric-owner -c "${@:2}" | xz -9e > "$1.tar.xz"; }
pack store store cohort/*.csv cohort/truth.json
pack runs --exclude='*.ckpt' --exclude=mlruns/locks mlruns
pack broken mlruns/checkpoints
find mlruns/artifacts -name '*.ckpt' | sort | while read -r file; do
    run=$(basename "$(dirname "$(dirname "$(dirname "$file")")")")
    pack "checkpoint-${run:0:8}" "$file"
done
