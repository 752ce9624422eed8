#!/usr/bin/env bash
# Installs tesserank into an environment, in steps: what `make setup` and deploy/Dockerfile both run, in the folder of the
# checkout. TORCH_FLAGS are pip's, for torch alone (CONTRIBUTING.md, Dependencies).
#   deploy/install.sh dependencies PYTHON LOCK    the locked dependencies (hash-checked), and torch beside them
#   deploy/install.sh packages PYTHON             tesserank and its client, editable
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1

# Beside the lock: its CPU and CUDA builds share a version but not a hash.
TORCH=torch==2.13.0

usage() {
  sed -n 's/^#   //p' "$0" >&2
  exit 2
}

install_dependencies() {
  local python=$1 lock=$2 flags
  read -ra flags <<< "${TORCH_FLAGS:-}"
  echo "==> locked dependencies (hash-checked)"
  "$python" -m pip install --quiet --no-deps --require-hashes -r "$lock"
  echo "==> $TORCH"
  "$python" -m pip install --quiet ${flags[@]+"${flags[@]}"} "$TORCH"
}

install_packages() {
  echo "==> tesserank and its client, editable"
  "$1" -m pip install --quiet --no-deps --no-build-isolation -e . -e client
}

case "${1:-} $#" in
  "dependencies 3") install_dependencies "$2" "$3" ;;
  "packages 2") install_packages "$2" ;;
  *) usage ;;
esac
