#!/usr/bin/env bash
# Train one of the guide's ViViTs on the embedded default:  bash experiments/train_vivit.sh small|baseline [more arguments]
# More arguments go to `visioncore train`, for example --precision bf16-mixed or --set training.batch_size=8.
set -euo pipefail
cd "$(dirname "$0")/.."

size="${1:-}"
case "$size" in
small | baseline) shift ;;
*)
    echo "usage: bash experiments/train_vivit.sh small|baseline [arguments of 'visioncore train']" >&2
    exit 2
    ;;
esac

[ -x .venv/bin/visioncore ] || make install

# An --out of one's own replaces the default.
out=(--out "runs/vivit_$size")
for argument in "$@"; do
    case "$argument" in --out | --out=*) out=() ;; esac
done
exec .venv/bin/visioncore train --model "experiments/model_configs/vivit_$size.yaml" \
    --data experiments/data_configs/simulated.yaml \
    --training "experiments/training_configs/$size.yaml" "${out[@]}" "$@"
