#!/usr/bin/env bash
# Installs the chart or upgrades it, and waits until its pods are ready, with Helm 3 and Helm 4, for a Deployment and for a Rollout:
#
#   scripts/chart_install.sh RELEASE CHART NAMESPACE [flags of helm upgrade …]
#
# Helm 4 waits for a Rollout of Argo Rollouts for ever, since it cannot read its status; Helm 3 does not wait for it at all. So Helm waits for what it
# knows, and this script for the Rollout. A canary or a blue-green version that waits for somebody (Paused) is a success: it is promoted later.
#
# CONTEXT   the kubectl context; empty: the current one
# TIMEOUT   seconds, 300: for Helm, and again for the Rollout
set -euo pipefail

release=${1:?usage: scripts/chart_install.sh RELEASE CHART NAMESPACE [flags …]}
chart=${2:?usage: scripts/chart_install.sh RELEASE CHART NAMESPACE [flags …]}
namespace=${3:?usage: scripts/chart_install.sh RELEASE CHART NAMESPACE [flags …]}
shift 3
timeout=${TIMEOUT:-300}
helm=(helm) kubectl=(kubectl --namespace "$namespace")
if [[ -n ${CONTEXT:-} ]]; then
  helm+=(--kube-context "$CONTEXT")
  kubectl+=(--context "$CONTEXT")
fi

wait=--wait
[[ $("${helm[@]}" version --short) != v4* ]] || wait=--wait=legacy
"${helm[@]}" upgrade --install "$release" "$chart" --namespace "$namespace" --create-namespace "$wait" --timeout "${timeout}s" "$@"

# The fields of the release's Rollouts, one a line: name, what it should be at, what its controller has seen, phase.
rollouts() {
  "${kubectl[@]}" get rollouts.argoproj.io --selector "app.kubernetes.io/instance=$release,app.kubernetes.io/managed-by=Helm" --output \
    'jsonpath={range .items[*]}{.metadata.name}{" "}{.metadata.generation}{" "}{.status.observedGeneration}{" "}{.status.phase}{"\n"}{end}' 2>/dev/null || true
}

end=$((SECONDS + timeout))
while true; do
  waiting=
  while read -r name generation seen phase; do
    if [[ $seen == "$generation" && ($phase == Healthy || $phase == Paused) ]]; then continue; fi
    if [[ $seen == "$generation" && $phase == Degraded ]]; then
      echo "error: the Rollout $name is Degraded: kubectl describe rollout $name --namespace $namespace" >&2
      exit 1
    fi
    waiting="the Rollout $name is ${phase:-unknown}"
  done < <(rollouts)
  [[ -n $waiting ]] || exit 0
  if ((SECONDS >= end)); then
    echo "error: after $timeout s $waiting" >&2
    exit 1
  fi
  sleep 1
done
