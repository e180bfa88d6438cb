#!/usr/bin/env bash
# The model of a release: one bundle, trained once, and the same by its digest everywhere after that.
#
#   scripts/release_model.sh build [VERSION]            check what `dvc repro` made; with a version, train it under that version, which has
#                                                       to give the same digest (equal data, settings and seed); digest= and manifest= to
#                                                       $GITHUB_OUTPUT
#   scripts/release_model.sh publish VERSION STORE      copy it to the store, where a version is never replaced
#   scripts/release_model.sh pack VERSION               write it as build/bundle-of-release/NAME-VERSION.tar.gz, to be attached to a release
#   scripts/release_model.sh unpack FILE DIGEST         the same as fetch, from such a file: where there is no bucket
#   scripts/release_model.sh fetch VERSION STORE DIGEST copy it from there, check it, and put it where the Dockerfile finds it
set -euo pipefail
cd "$(dirname "$0")/.."

ORRIS=${ORRIS:-.venv/bin/orris}
CANDIDATE=${CANDIDATE:-build/candidate}
RELEASE=${RELEASE:-build/release}
IMAGE_MODEL=${IMAGE_MODEL:-build/image-model} # the Dockerfile's argument MODEL
PACKED=${PACKED:-build/bundle-of-release}
name=$(sed -n 's/^name: *\([A-Za-z0-9._-]*\).*/\1/p' params.yaml)

fail() {
  echo "error: $*" >&2
  exit 2
}

build() {
  local version=${1:-} digest store=$CANDIDATE reference=$name
  "$ORRIS" models verify "$name" --store "$CANDIDATE"
  digest=$("$ORRIS" models show "$name" --store "$CANDIDATE" --json | sed -n 's/^  "digest": "\([0-9a-f]*\)",*$/\1/p')
  [[ -n $digest ]] || fail "orris models show printed no digest"
  if [[ -n $version ]]; then
    rm -rf "$RELEASE"
    "$ORRIS" train --params params.yaml --version "$version" --store "$RELEASE"
    store=$RELEASE reference=$name@$version
    "$ORRIS" models verify "$reference" --digest "$digest" --store "$RELEASE"
  fi
  {
    echo "digest=$digest"
    echo "manifest=$(find "$store/$name/versions" -mindepth 2 -maxdepth 2 -name manifest.json | sort | tail -n 1)"
  } >>"${GITHUB_OUTPUT:-/dev/stdout}"
}

publish() {
  [[ -n $1 && -n $2 ]] || fail "a version and a store are needed; is the variable MODEL_STORE set?"
  "$ORRIS" models push "$name@$1" "$2" --store "$RELEASE"
}

fetch() {
  [[ -n $1 && -n $2 && -n $3 ]] || fail "a version, a store and a digest are needed; is the variable MODEL_STORE set?"
  local store
  store=$(mktemp --directory)
  # shellcheck disable=SC2064  # this folder
  trap "rm -rf '$store'" EXIT
  rm -rf "$IMAGE_MODEL"
  "$ORRIS" models pull "$name@$1" "$2" --store "$store"
  "$ORRIS" models verify "$name@$1" --digest "$3" --store "$store"
  "$ORRIS" models export "$name@$1" "$IMAGE_MODEL" --store "$store"
}

# The same bytes for the same bundle, whoever packs it.
pack() {
  [[ -n $1 ]] || fail "a version is needed"
  local folder
  folder=$(mktemp --directory)
  # shellcheck disable=SC2064  # this folder
  trap "rm -rf '$folder'" EXIT
  "$ORRIS" models export "$name@$1" "$folder/$name-$1" --store "$RELEASE"
  mkdir -p "$PACKED"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --directory "$folder" --create "$name-$1" | gzip --no-name >"$PACKED/$name-$1.tar.gz"
}

unpack() {
  [[ -f $1 && -n $2 ]] || fail "a packed bundle and a digest are needed"
  rm -rf "$IMAGE_MODEL"
  mkdir -p "$IMAGE_MODEL"
  tar --extract --gzip --file "$1" --directory "$IMAGE_MODEL" --strip-components 1 --no-same-owner
  "$ORRIS" models verify "$IMAGE_MODEL" --digest "$2"
}

case ${1:-} in
  build) build "${2:-}" ;;
  publish) publish "${2:-}" "${3:-}" ;;
  pack) pack "${2:-}" ;;
  unpack) unpack "${2:-}" "${3:-}" ;;
  fetch) fetch "${2:-}" "${3:-}" "${4:-}" ;;
  *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
