#!/usr/bin/env bash
# Installs this clone and JAX for an accelerator into .venv, with Python 3.11 or
# newer, which the images of some machines lack: launch/install.sh tpu|cuda12|cuda13
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:?usage: launch/install.sh tpu|cuda12|cuda13}
venv=${VENV:-.venv}

fits() {
  "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
    2>/dev/null
}

if ! { [[ -x $venv/bin/python ]] && fits "$venv/bin/python"; }; then
  python=''
  for name in python3.13 python3.12 python3.11 python3; do
    if fits "$name"; then
      python=$name
      break
    fi
  done
  if [[ -z $python ]]; then
    # Of Debian and Ubuntu from 22.04 on.
    sudo apt-get -qq update
    sudo apt-get -qq install -y python3.11 python3.11-venv
    python=python3.11
  fi
  "$python" -m venv --clear "$venv"
fi
"$venv/bin/python" -m pip install -q -e '.[cloud]' "jax[$kind]"
