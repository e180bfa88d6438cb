#!/usr/bin/env bash
# Builds, runs and pushes the server's image with docker, podman or buildah: the first of them that works here, or what ENGINE says.
#
#   scripts/image.sh build    IMAGE:TAG; with a model in it, if MODEL names one
#   scripts/image.sh run      on PORT (9000), in the foreground; with the store STORE (./artifacts) mounted, unless MODEL is in the image
#   scripts/image.sh push     to IMAGE:TAG; prints the digest, which is what gets deployed
#   scripts/image.sh engine   which engine it would be
#
# Settings, all by environment:
#   IMAGE   orris                        name, with the registry: europe-docker.pkg.dev/PROJECT/REPOSITORY/orris
#   TAG     the version of Orris         a tag; what is deployed is named by digest
#   LOCK    serve                        or cloud: with buckets, tokens and signatures
#   MODEL   none                         a bundle's folder, or a reference in STORE such as iris:prod
#   MODEL_DIGEST   none                  what the digest of MODEL has to be
#   PLATFORMS      this machine's        linux/amd64,linux/arm64: both, as one image (push then pushes both)
#   PYTHON_IMAGE   the Dockerfile's      another base
#   SOURCE_DATE_EPOCH   the commit's     the one time that files and labels get
#   BUILD_ARGS     none                  further arguments of the engine's build
set -euo pipefail
cd "$(dirname "$0")/.."

IMAGE=${IMAGE:-orris}
TAG=${TAG:-$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/orris/version.py)}
LOCK=${LOCK:-serve}
MODEL=${MODEL:-}
MODEL_DIGEST=${MODEL_DIGEST:-}
PLATFORMS=${PLATFORMS:-}
PORT=${PORT:-9000}
STORE=${STORE:-./artifacts}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
ORRIS=${ORRIS:-.venv/bin/orris}
IMAGE_MODEL=${IMAGE_MODEL:-build/image-model} # inside of the build's context
export SOURCE_DATE_EPOCH

fail() {
  echo "error: $*" >&2
  exit 1
}

find_engine() {
  if [[ -n ${ENGINE:-} ]]; then
    echo "$ENGINE"
    return
  fi
  local engine
  for engine in docker podman buildah; do
    if command -v "$engine" >/dev/null && "$engine" info >/dev/null 2>&1; then
      echo "$engine"
      return
    fi
  done
  fail "no engine works here: install docker, podman or buildah (is the Docker daemon running?), or name one with ENGINE=…"
}

# The model as a folder inside of the build's context, which the Dockerfile can copy.
place_model() {
  if [[ $MODEL == build/bundle ]]; then
    [[ -f build/bundle/manifest.json ]] || fail "build/bundle holds no bundle: dvc repro makes it, or name one with MODEL=iris:latest"
    echo "$MODEL"
    return
  fi
  rm -rf "$IMAGE_MODEL"
  mkdir -p "$(dirname "$IMAGE_MODEL")"
  if [[ -f $MODEL/manifest.json ]]; then
    cp -R "$MODEL" "$IMAGE_MODEL"
  else
    [[ -x $ORRIS ]] || command -v "$ORRIS" >/dev/null || fail "MODEL=$MODEL is no bundle's folder, and $ORRIS is not there to look for it: run make setup"
    "$ORRIS" models export "$MODEL" "$IMAGE_MODEL" --store "$STORE" >&2
  fi
  echo "$IMAGE_MODEL"
}

build() {
  local engine target=server created
  engine=$(find_engine)
  created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
  local -a arguments=(
    --build-arg "LOCK=$LOCK" --build-arg "VERSION=$TAG" --build-arg "CREATED=$created" --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH"
    --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
  )
  [[ -z ${PYTHON_IMAGE:-} ]] || arguments+=(--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE")
  if [[ -n $MODEL ]]; then
    target=with-model
    local folder
    folder=$(place_model)
    arguments+=(--build-arg "MODEL=$folder" --build-arg "MODEL_DIGEST=$MODEL_DIGEST")
  fi
  arguments+=(--target "$target")
  [[ -z $PLATFORMS ]] || arguments+=(--platform "$PLATFORMS")
  # shellcheck disable=SC2206  # several arguments in one variable
  arguments+=(${BUILD_ARGS:-})
  case $engine in
    docker) docker buildx build "${arguments[@]}" --load --tag "$IMAGE:$TAG" . ;;
    # Docker's format, because OCI's has no HEALTHCHECK; one time for all that these two add to a layer.
    podman | buildah)
      arguments+=(--format docker --timestamp "$SOURCE_DATE_EPOCH")
      if [[ $PLATFORMS == *,* ]]; then
        "$engine" build "${arguments[@]}" --manifest "$IMAGE:$TAG" .
      else
        "$engine" build "${arguments[@]}" --tag "$IMAGE:$TAG" .
      fi
      ;;
    *) fail "ENGINE=$engine: docker, podman or buildah is needed" ;;
  esac
  echo "built $IMAGE:$TAG ($target, requirements/$LOCK.txt) with $engine"
}

run() {
  local engine
  engine=$(find_engine)
  local -a mounted=()
  if [[ -z $MODEL ]]; then
    [[ -d $STORE ]] || fail "$STORE: there is no such store; train a model first (make training), or name one with STORE=…"
    mounted=(--volume "$(realpath "$STORE"):/models:ro")
  fi
  echo "http://localhost:$PORT serves $IMAGE:$TAG; Ctrl-C ends it" >&2
  case $engine in
    docker | podman)
      exec "$engine" run --rm --init --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
        --publish "$PORT:8000" "${mounted[@]}" "$IMAGE:$TAG" serve
      ;;
    buildah)
      local container
      container=$(buildah from "$IMAGE:$TAG")
      # shellcheck disable=SC2064  # this container, not one of another call
      trap "buildah rm '$container' >/dev/null" EXIT
      buildah run "${mounted[@]}" "$container" -- orris serve --port "$PORT"
      ;;
    *) fail "ENGINE=$engine: docker, podman or buildah is needed" ;;
  esac
}

push() {
  local engine file
  engine=$(find_engine)
  file=$(mktemp)
  case $engine in
    docker)
      docker push "$IMAGE:$TAG"
      docker buildx imagetools inspect "$IMAGE:$TAG" --format '{{.Manifest.Digest}}' >"$file"
      ;;
    podman | buildah)
      if [[ $PLATFORMS == *,* ]]; then
        "$engine" manifest push --all --digestfile "$file" "$IMAGE:$TAG" "docker://$IMAGE:$TAG"
      else
        "$engine" push --digestfile "$file" "$IMAGE:$TAG"
      fi
      ;;
    *) fail "ENGINE=$engine: docker, podman or buildah is needed" ;;
  esac
  echo "pushed; deploy it as $IMAGE@$(cat "$file")"
  rm -f "$file"
}

case ${1:-} in
  build) build ;;
  run) run ;;
  push) push ;;
  engine) find_engine ;;
  *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
