#!/usr/bin/env bash
# Starts an image as a cluster would, with a read-only root and no capabilities, tests it live, and removes it:
#
#   scripts/live.sh IMAGE [argument of tools/live.py …]
#
# ENGINE   docker (or podman)
# PORT     9000
# PLATFORM the machine's; another one needs emulation
# STORE    none: a folder that is mounted as the store, for an image without a model
set -euo pipefail
cd "$(dirname "$0")/.."

IMAGE=${1:?usage: scripts/live.sh IMAGE [argument of tools/live.py …]}
shift
ENGINE=${ENGINE:-docker}
PORT=${PORT:-9000}
PYTHON=${PYTHON:-python3}

arguments=(--detach --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --publish "127.0.0.1:$PORT:8000")
[[ -z ${PLATFORM:-} ]] || arguments+=(--platform "$PLATFORM")
[[ -z ${STORE:-} ]] || arguments+=(--volume "$(realpath "$STORE"):/models:ro")
container=$("$ENGINE" run "${arguments[@]}" "$IMAGE" serve)
# shellcheck disable=SC2064  # this container
trap "'$ENGINE' logs '$container' 2>&1 | tail -50; '$ENGINE' rm --force '$container' >/dev/null" EXIT

"$PYTHON" tools/live.py "http://127.0.0.1:$PORT" "$@"
"$ENGINE" exec "$container" orris ping
user=$("$ENGINE" exec "$container" id -u)
[[ $user == 10001 ]] || { echo "error: $IMAGE runs as user $user, not as 10001" >&2; exit 1; }
