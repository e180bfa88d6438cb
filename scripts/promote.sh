#!/usr/bin/env bash
# One promotion in CI: `orris promote` with what the workflow was given, as a pull request. Without VERSION it is a rollback of TO.
#
# VERSION, FROM, TO, IMAGE_DIGEST   as the options of orris promote; empty ones are left out
# ORRIS_STORE                       the store that holds the versions
set -euo pipefail
cd "$(dirname "$0")/.."

ORRIS=${ORRIS:-.venv/bin/orris}
arguments=(--to "${TO:?is needed: the environment that is changed}" --push --report build/promotion.md)
if [[ -z ${VERSION:-} ]]; then
  arguments+=(--rollback)
else
  arguments=("$VERSION" "${arguments[@]}")
  [[ -z ${FROM:-} ]] || arguments+=(--from "$FROM")
  [[ -z ${IMAGE_DIGEST:-} ]] || arguments+=(--image-digest "$IMAGE_DIGEST")
fi
# Who commits, if git does not know: the workflow itself.
export GIT_AUTHOR_NAME=${GIT_AUTHOR_NAME:-github-actions[bot]} GIT_COMMITTER_NAME=${GIT_COMMITTER_NAME:-github-actions[bot]}
email='41898282+github-actions[bot]@users.noreply.github.com'
export GIT_AUTHOR_EMAIL=${GIT_AUTHOR_EMAIL:-$email} GIT_COMMITTER_EMAIL=${GIT_COMMITTER_EMAIL:-$email}

mkdir -p build
exec "$ORRIS" promote "${arguments[@]}"
