#!/usr/bin/env bash
# What a GPU does with this project, in about ten minutes; for a machine that is borrowed by the minute.
#
#   tools/gpu_check.sh [--device gpu|cpu] [--out FOLDER] [--python PYTHON] [--minutes N]
#
# Run it in a clone, with a Python that has the package and pytest (`make env` makes .venv). Each check has a time limit, writes a log into
# FOLDER (default gpu_check/), and the next one runs whatever it says. FOLDER/summary.md and summary.csv hold a line for each: ok, FAILED,
# out of time, or not run. The exit code is the number of checks that did not end well. With --device cpu everything is smaller.
set -u
device=gpu out=gpu_check python=.venv/bin/python minutes=10
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=$2 ;;
    --out) out=$2 ;;
    --python) python=$2 ;;
    --minutes) minutes=$2 ;;
    *) sed -n '2,9p' "$0" >&2; exit 2 ;;
  esac
  shift 2 || { echo "$0: the last option needs a value" >&2; exit 2; }
done
cd "$(dirname "$0")/.." || exit 2
[ -x "$python" ] || python=$(command -v "$python") || { echo "no Python at --python; make env makes .venv/bin/python" >&2; exit 2; }
case $device in gpu | cpu) ;; *) echo "--device $device must be gpu or cpu" >&2; exit 2 ;; esac
if [ -e "$out" ] && [ ! -f "$out/summary.csv" ]; then echo "$out: exists and is not of this script; name another folder with --out" >&2; exit 2; fi
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
rm -rf "${out:?}"/*
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3} PYTHONPATH=$PWD
if [ "$device" = cpu ]; then export CUDA_VISIBLE_DEVICES=-1; fi

ends=$((SECONDS + 60 * minutes)) bad=0
echo "check,result,seconds,figure" > "$out/summary.csv"

# check NAME LIMIT COMMAND...: runs it for at most LIMIT seconds, of ten minutes in all; its last line is the figure of the summary.
check() {
  local name=$1 limit=$(($2 * minutes / 10)) start=$SECONDS result=ok code=0
  shift 2
  if [ $((ends - SECONDS)) -lt 5 ]; then
    result="not run"
  else
    [ "$limit" -gt $((ends - SECONDS)) ] && limit=$((ends - SECONDS))
    timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1 || code=$?
    case $code in 0) ;; 124 | 137) result="out of time" ;; *) result=FAILED ;; esac
  fi
  [ "$result" = ok ] || bad=$((bad + 1))
  local figure
  # Of a benchmark the line after the heading, of all others the last one.
  figure=$({ grep -m 1 ' ms  (.* images/s$' "$out/$name.log" || tail -n 1 "$out/$name.log"; } 2>/dev/null | tr ',|"' ';/ ' | cut -c 1-150)
  echo "$name,$result,$((SECONDS - start)),$figure" >> "$out/summary.csv"
  printf '%-28s %-12s %4s s  %s\n' "$name" "$result" $((SECONDS - start)) "$figure"
}

# benchmark NAME LIMIT WHAT REPEATS [KEY=VALUE ...]: the stages of `ttfnet benchmark WHAT`.
benchmark() {
  local name=$1 limit=$2 what=$3 count=$4
  shift 4
  check "$name" "$limit" "$python" -m ttfnet_tf benchmark "$what" configs/ttfnet_r18_1x.yaml --device "$device" --repeats "$count" \
    --json "$out/$name.json" "data.image_size=[$size,$size]" "train.batch_size=$batch" \
    "data.train.annotations=$out/shapes/annotations/train.json" "data.train.images=$out/shapes/train" \
    "data.val.annotations=$out/shapes/annotations/val.json" "data.val.images=$out/shapes/val" "$@"
}
# compare NAME LIMIT TOLERANCE FIRST SECOND: two trainings on the same images, with one setting in two values.
compare() { check "$1" "$2" "$python" tools/gpu_check.py "$device" "$out" compare --steps "$steps" --tolerance "$3" --first "$4" --second "$5"; }

if [ "$device" = gpu ]; then size=512 batch=16 repeats=10 steps=20; else size=64 batch=2 repeats=2 steps=4; fi
check environment 60 "$python" tools/gpu_check.py "$device" "$out" environment
check images 60 "$python" -m ttfnet_tf data shapes "$out/shapes" --train 64 --val 64 --size 480 640 # for the benchmarks
# Stored arrays of the official implementation. TF32 would round the products.
check parity 150 env NVIDIA_TF32_OVERRIDE=0 "$python" -m pytest -q -p no:warnings -m "parity and not slow" tests/parity
compare deterministic 90 0 train.deterministic=true train.deterministic=true
compare xla 120 1e-3 train.jit_compile=false train.jit_compile=true
compare samplers 90 1e-3 model.sampler=crop_and_resize model.sampler=gather
for precision in float32 mixed_bfloat16 mixed_float16; do
  benchmark "train-$precision" 60 train "$repeats" "train.precision=$precision"
done
benchmark train-gather 60 train "$repeats" model.sampler=gather
benchmark train-xla 90 train "$repeats" model.sampler=gather train.jit_compile=true
benchmark train-half-batch 60 train "$repeats" "train.batch_size=$((batch / 2))"
benchmark detect 60 detect "$repeats"
benchmark evaluate 60 eval 2
check short-training 120 "$python" tools/gpu_check.py "$device" "$out" train
check saved-model 90 "$python" tools/gpu_check.py "$device" "$out" saved_model

{
  echo "| Check | Result | Seconds | Figure |"
  echo "|---|---|---|---|"
  tail -n +2 "$out/summary.csv" | sed 's/,/ | /; s/,/ | /; s/,/ | /; s/^/| /; s/$/ |/'
} > "$out/summary.md"
echo "$bad of $(($(wc -l < "$out/summary.csv") - 1)) checks did not end well; logs and figures in $out"
exit "$bad"
