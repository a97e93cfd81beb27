#!/usr/bin/env bash
# A run on spot TPU VMs by a queued resource, until it has ended:
#
#   PROJECT=my-project ZONE=us-west4-a TYPE=v5litepod-8 BUCKET=my-bucket \
#     SOURCE=https://... launch/queued.sh NAME --config=configs/digits.py
#
# Asks for the machines, waits, installs, runs launch/run.sh (or $ENTRY) on all of
# them with the workdir gs://BUCKET/runs/NAME, and starts over when they are taken
# away (status 75, or machines that are gone). Ends with the run's own status, and
# deletes the machines. The bucket holds what is needed to go on.
set -euo pipefail

: "${PROJECT:?set PROJECT to your Google Cloud project}"
: "${ZONE:?set ZONE, such as us-west4-a}"
: "${BUCKET:?set BUCKET to the name of a bucket in the same region}"
: "${SOURCE:?set SOURCE to the git address that the machines clone lst from}"
type=${TYPE:-v5litepod-8}
version=${VERSION:-v2-alpha-tpuv5-lite}
poll=${POLL:-30}
attempts=${ATTEMPTS:-50}
entry=${ENTRY:-launch/run.sh}
restart=75

if [[ $# -lt 2 || $1 == -* ]]; then
  echo "usage: $0 NAME --config=FILE [flags of python -m lst.main]" >&2
  exit 2
fi
name=$1
shift

tpu() { gcloud compute tpus "$@" --project="$PROJECT" --zone="$ZONE"; }

state() {
  tpu queued-resources describe "$name" --format='value(state.state)' \
    2>/dev/null || echo NONE
}

remove() {
  [[ $(state) == NONE ]] ||
    tpu queued-resources delete "$name" --force --quiet || true
}

wait_for_machines() {
  tpu queued-resources create "$name" --node-id="$name" --spot \
    --accelerator-type="$type" --runtime-version="$version"
  while true; do
    case $(state) in
      ACTIVE) return 0 ;;
      FAILED | SUSPENDED | SUSPENDING | NONE) return 1 ;;
    esac
    sleep "$poll"
  done
}

on_all() {
  tpu tpu-vm ssh "$name" --worker=all --command="$1"
}

trap remove EXIT
# Quoted once more, for the shell of the machines.
flags=$(printf ' %q' "$@" "--workdir=gs://$BUCKET/runs/$name" --processes=auto)
install="(test -d lst || git clone -q '$SOURCE' lst) && cd lst &&
  launch/install.sh tpu"

for ((attempt = 1; attempt <= attempts; attempt++)); do
  echo "attempt $attempt of $attempts: asking for $type in $ZONE"
  remove
  if wait_for_machines; then
    status=0
    on_all "$install" && on_all "cd lst && PYTHON=.venv/bin/python $entry$flags" ||
      status=$?
    # 255 is that of an ssh whose machine is gone.
    if [[ $status == 0 ]]; then
      echo "done: gs://$BUCKET/runs/$name/result.json"
      exit 0
    elif [[ $status != "$restart" && $status != 255 && \
      $(state) == ACTIVE ]]; then
      echo "the run has failed with status $status" >&2
      exit "$status"
    fi
    echo "the machines were taken away (status $status)"
  fi
  sleep "$poll"
done
echo "gave up after $attempts attempts; the same command goes on" >&2
exit "$restart"
