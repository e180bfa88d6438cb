#!/usr/bin/env bash
# A cluster on this machine, with all that Orris works with: Envoy Gateway, metrics-server, Prometheus with Grafana, then the chart.
#
#   scripts/kind.sh up      makes the cluster, or what it still lacks; may be repeated
#   scripts/kind.sh down    deletes the cluster and all that is in it
#
# Settings, all by environment:
#   CLUSTER      orris           name of the cluster
#   MODEL        iris:latest     model that is put into the image, if the image is not there yet
#   IMAGE, TAG   orris, the version of Orris: the image that is loaded into the cluster (scripts/image.sh builds it)
#   KIND_IMAGE   kind's own      image of the nodes, with another version of Kubernetes
#
# Needs docker, kind, kubectl and helm 3.8 or newer. The versions of metrics-server and of Prometheus are those of deploy/infrastructure.
set -euo pipefail
cd "$(dirname "$0")/.."

CLUSTER=${CLUSTER:-orris}
CONTEXT=kind-$CLUSTER
MODEL=${MODEL:-iris:latest}
IMAGE=${IMAGE:-orris}
TAG=${TAG:-$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/orris/version.py)}
ENVOY_GATEWAY=v1.8.2
export IMAGE TAG MODEL

fail() {
  echo "error: $*" >&2
  exit 1
}

# Never whatever context happens to be the current one.
in_cluster() {
  local command=$1
  shift
  case $command in
    kubectl) kubectl --context "$CONTEXT" "$@" ;;
    helm) helm --kube-context "$CONTEXT" "$@" ;;
  esac
}

# The tag or version that deploy/infrastructure pins: pinned FILE KEY
pinned() {
  local found
  found=$(sed -n "s/^ *$2: *[\"']\{0,1\}\([0-9][0-9A-Za-z.-]*\).*/\1/p" "deploy/infrastructure/$1" | head -n 1)
  [[ -n $found ]] || fail "deploy/infrastructure/$1 pins no $2"
  echo "$found"
}

cluster() {
  if kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; then
    echo "the cluster $CLUSTER is there"
    return
  fi
  local -a image=()
  [[ -z ${KIND_IMAGE:-} ]] || image=(--image "$KIND_IMAGE")
  kind create cluster --name "$CLUSTER" --config k8s/kind/cluster.yaml --wait 5m "${image[@]}"
}

image() {
  if ! docker image inspect "$IMAGE:$TAG" >/dev/null 2>&1; then
    ENGINE=docker scripts/image.sh build
  fi
  kind load docker-image "$IMAGE:$TAG" --name "$CLUSTER"
}

infrastructure() {
  in_cluster helm upgrade --install envoy-gateway oci://docker.io/envoyproxy/gateway-helm --version "$ENVOY_GATEWAY" \
    --namespace envoy-gateway-system --create-namespace --wait --timeout 10m
  in_cluster helm upgrade --install metrics-server metrics-server --repo https://kubernetes-sigs.github.io/metrics-server \
    --version "$(pinned components/metrics-server/release.yaml version)" --values deploy/infrastructure/components/metrics-server/values.yaml \
    --namespace kube-system --wait --timeout 10m
  # Grafana is a part of it, from the charts of grafana-community; its password is generated.
  in_cluster helm upgrade --install kube-prometheus-stack oci://ghcr.io/prometheus-community/charts/kube-prometheus-stack \
    --version "$(pinned kube-prometheus-stack/release.yaml tag)" --values deploy/infrastructure/kube-prometheus-stack/values.yaml \
    --namespace monitoring --create-namespace --wait --timeout 15m
}

application() {
  local name=${MODEL%%[:@]*}
  [[ $name != */* ]] || name="" # a bundle's folder
  in_cluster kubectl apply --filename k8s/0-namespace.yaml --filename k8s/kind/gateway.yaml --filename k8s/kind/routes.yaml
  CONTEXT=$CONTEXT TIMEOUT=600 scripts/chart_install.sh orris charts/orris orris --set "image.repository=$IMAGE" --set-string "image.tag=$TAG" \
    --set "model.name=$name" --values k8s/local/values.yaml --values k8s/kind/values.yaml
  in_cluster helm test orris --namespace orris --timeout 5m
}

up() {
  local tool
  for tool in docker kind kubectl helm; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
  done
  cluster
  image
  infrastructure
  application
  cat <<SAID
Ask it, directly and through the Gateway:
  kubectl --context $CONTEXT port-forward --namespace orris service/orris 8000:80
  curl http://localhost:8000/ready
  kubectl --context $CONTEXT port-forward --namespace envoy-gateway-system \\
    "\$(kubectl --context $CONTEXT get service --namespace envoy-gateway-system --selector gateway.envoyproxy.io/owning-gateway-name=orris --output name)" 8080:80
  curl --header 'host: orris.localhost' http://localhost:8080/ready
Watch it, through the same port:
  http://grafana.localhost:8080      user admin
  http://prometheus.localhost:8080
Browsers find *.localhost by themselves; other programs may need this line in /etc/hosts:
  127.0.0.1 orris.localhost grafana.localhost prometheus.localhost
Grafana's password:
  kubectl --context $CONTEXT get secret --namespace monitoring kube-prometheus-stack-grafana --output jsonpath='{.data.admin-password}' | base64 -d
Away with it:
  scripts/kind.sh down
SAID
}

case ${1:-} in
  up) up ;;
  down) kind delete cluster --name "$CLUSTER" ;;
  *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
