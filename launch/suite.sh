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
poll=${POLL:-5}
# Seconds that the run at hand has to save: Google gives a spot machine 30.
grace=${GRACE:-15}
here=${LST_SUITE:-$HOME/suite}
restart=75
trap 'exit "$restart"' TERM

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

copy() { gcloud storage rsync --recursive "$@"; }

# What says that a checkpoint, a choice or a run is whole. Copying goes file by
# file and may end in the middle, so these come last.
mark=_CHECKPOINT_METADATA
marks=(-path "*/checkpoints/*/$mark" -o -name chosen.json -o -name result.json)

keep() {
  local whole
  # Not those of what becomes whole while the rest is copied.
  mapfile -t whole < <(cd "$here/runs" && find . -type f \( "${marks[@]}" \))
  if copy --exclude="(.*/)?($mark|chosen\.json|result\.json)$" \
    "$here/runs" "$remote"; then
    ((${#whole[@]})) || return 0
    rm -rf "$here/marks" && mkdir "$here/marks"
    # A checkpoint that was dropped meanwhile has none any more.
    (cd "$here/runs" &&
      cp -p --parents -t "$here/marks" "${whole[@]}" 2>/dev/null) || true
    copy "$here/marks" "$remote" && return 0
  fi
  echo "not copied to $remote" >&2
}

mkdir -p "$here/runs"
if gcloud storage ls "$remote" >/dev/null 2>&1; then
  copy "$remote" "$here/runs"
  # Half a checkpoint would be taken for the last one.
  find "$here/runs" -type d -regex '.*/checkpoints/[0-9]+' |
    while read -r step; do [[ -e $step/$mark ]] || rm -rf "$step"; done
fi
if [[ -n $data ]]; then
  mkdir -p "$here/data"
  copy "$data" "$here/data"
  flags+=("--path=$here/data")
fi

"$python" -m lst.vtab run "${flags[@]}" "--workdir=$here/runs" &
run=$!
leaving='' status=0
trap 'leaving=1' TERM
last=$SECONDS
while [[ -z $leaving ]] && kill -0 "$run" 2>/dev/null; do
  # Behind `wait`, which a signal ends.
  sleep "$poll" >/dev/null 2>&1 &
  wait $! || true
  if [[ -z $leaving ]] && ((SECONDS - last >= every)); then
    keep
    last=$SECONDS
  fi
done
if [[ -n $leaving ]]; then
  # The machine is taken away: the run at hand saves, and all goes to the bucket.
  kill -TERM "$run" 2>/dev/null || true
  for ((k = 0; k < 5 * grace; k++)); do
    kill -0 "$run" 2>/dev/null || break
    sleep 0.2
  done
  status=$restart
else
  wait "$run" || status=$?
fi
keep
exit "$status"
