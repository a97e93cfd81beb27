#!/usr/bin/env bash
# The command of a job, the same on every host: launch/run.sh --config=FILE
# --workdir=DIR [flags of python -m lst.main].
#
# With LST_WAIT_CACHE=1 it waits until a fleet of workers (workers.yaml) has made
# all features. Status 75: start it again, it goes on from the last checkpoint.
set -euo pipefail

python=${PYTHON:-python3}
if [[ ${LST_WAIT_CACHE:-0} == 1 ]]; then
  # All flags but those that say where the run is, and its processes.
  wait=()
  for flag in "$@"; do
    case $flag in
      --workdir=* | --process=* | --processes=* | --coordinator=*) ;;
      *) wait+=("$flag") ;;
    esac
  done
  JAX_PLATFORMS=cpu "$python" -m lst.cache status --wait "${wait[@]}"
fi
# In place of this shell, so that SIGTERM reaches it.
exec "$python" -m lst.main "$@"
