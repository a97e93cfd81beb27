#!/usr/bin/env bash
# A run on spot TPU VMs by a queued resource, until it has ended:
#
#   PROJECT=my-project ZONE=us-west4-a TYPE=v5litepod-8 BUCKET=my-bucket \
#     SOURCE=https://... launch/queued.sh NAME --config=configs/digits.py
#
# Asks for the machines, waits, installs, runs launch/run.sh (or $ENTRY) on all of
# them with the workdir gs://BUCKET/runs/NAME, and starts over when they are taken
# away (status 75, or machines that are gone). Ends with the run's own status, or
# that of a request that is refused, and deletes the machines. The bucket holds
# what is needed to go on.
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

errors=$(mktemp)
where=("--project=$PROJECT" "--zone=$ZONE")

tpu() { gcloud compute tpus "$@" "${where[@]}"; }

# NONE only where that is what Google says; a login that has expired, or a service
# that is down, says nothing of the machines.
state() {
  if tpu queued-resources describe "$name" --format='value(state.state)' \
    2>"$errors"; then
    return
  elif grep -q NOT_FOUND "$errors"; then
    echo NONE
  else
    cat "$errors" >&2
    echo UNKNOWN
  fi
}

remove() {
  local delete=(queued-resources delete "$name" --force --quiet)
  if ! tpu "${delete[@]}" 2>"$errors" && ! grep -q NOT_FOUND "$errors"; then
    cat "$errors" >&2
    echo "machines may be left, and cost: see to it that this succeeds" >&2
    printf '%q ' gcloud compute tpus "${delete[@]}" "${where[@]}" >&2
    echo >&2
  fi
}

# What Google answers to a mistake, which the next request would have, too. So
# does a quota that is used up, unless machines that have just been taken away
# still count.
final='INVALID_ARGUMENT|PERMISSION_DENIED|UNAUTHENTICATED|FAILED_PRECONDITION'
final+='|NOT_FOUND|UNIMPLEMENTED|OUT_OF_RANGE'

ask() {
  local status=0 mistake=$final
  ((attempt > 1)) || mistake+='|RESOURCE_EXHAUSTED'
  tpu queued-resources create "$name" --node-id="$name" --spot \
    --accelerator-type="$type" --runtime-version="$version" \
    2>"$errors" || status=$?
  cat "$errors" >&2
  if [[ $status != 0 ]] && grep -qE "$mistake" "$errors"; then
    exit "$status"
  fi
  # One that is there already may become machines as well as a new one.
  [[ $status == 0 ]] || grep -q ALREADY_EXISTS "$errors"
}

wait_for_machines() {
  local unknown=0
  while true; do
    case $(state) in
      ACTIVE) return 0 ;;
      FAILED | SUSPENDED | SUSPENDING | NONE) return 1 ;;
      UNKNOWN) ((++unknown < 10)) || return 1 ;;
      *) unknown=0 ;;
    esac
    sleep "$poll"
  done
}

on_all() {
  tpu tpu-vm ssh "$name" --worker=all --command="$1"
}

trap 'remove; rm -f "$errors"' EXIT
# Quoted once more, for the shell of the machines.
flags=$(printf ' %q' "$@" "--workdir=gs://$BUCKET/runs/$name" --processes=auto)
install="(test -d lst || git clone -q '$SOURCE' lst) && cd lst &&
  launch/install.sh tpu"

for ((attempt = 1; attempt <= attempts; attempt++)); do
  echo "attempt $attempt of $attempts: asking for $type in $ZONE"
  remove
  if ask && wait_for_machines; then
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
