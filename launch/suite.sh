#!/usr/bin/env bash
# A whole suite of tasks on one machine, with its folder kept in a bucket:
#
#   launch/suite.sh --workdir=gs://BUCKET/runs/NAME --config=FILE --suite=vtab \
#     --path=gs://BUCKET/vtab
#
# It is `python -m lst.vtab run`, which works on local files: the data and what an
# earlier machine has done are fetched first, and what is done is copied to the
# bucket every EVERY seconds and at the end. The same command goes on with what
# is left. By queued.sh: ENTRY=launch/suite.sh TYPE=v5litepod-1.
set -euo pipefail

python=${PYTHON:-python3}
every=${EVERY:-300}
here=${LST_SUITE:-$HOME/suite}
restart=75

remote='' data='' flags=()
for flag in "$@"; do
  case $flag in
    --workdir=gs://*) remote=${flag#--workdir=} ;;
    --path=gs://*) data=${flag#--path=} ;;
    # A suite has one process.
    --processes=* | --process=* | --coordinator=*) ;;
    *) flags+=("$flag") ;;
  esac
done
if [[ -z $remote ]]; then
  echo "usage: $0 --workdir=gs://... --config=FILE [flags of lst.vtab]" >&2
  exit 2
fi

copy() { gcloud storage rsync --recursive "$1" "$2"; }
keep() { copy "$here/runs" "$remote" || echo "not copied to $remote" >&2; }

mkdir -p "$here/runs"
if gcloud storage ls "$remote" >/dev/null 2>&1; then
  copy "$remote" "$here/runs"
fi
if [[ -n $data ]]; then
  mkdir -p "$here/data"
  copy "$data" "$here/data"
  flags+=("--path=$here/data")
fi

"$python" -m lst.vtab run "${flags[@]}" "--workdir=$here/runs" &
run=$!
# The machine is taken away: what is done goes to the bucket.
trap 'kill -TERM "$run" 2>/dev/null || true; keep; exit "$restart"' TERM
last=$SECONDS
while kill -0 "$run" 2>/dev/null; do
  sleep "${POLL:-5}"
  if ((SECONDS - last >= every)); then
    keep
    last=$SECONDS
  fi
done
status=0
wait "$run" || status=$?
keep
exit "$status"
