#!/usr/bin/env bash
# The reference project's load test on a cluster: 1,000 connections while the HPA may go to 3 replicas, then 2,000 while it may go to 1 only.
#   loadtests/k8s/run.sh NAMESPACE [RELEASE]
# What it changes (the autoscaler's limits) is put back at its end, however it ends. Never run it against production: it refuses a namespace
# that is labelled orris/environment=prod. Needs kubectl, helm, and the chart of this repository.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
chart=$here/../../charts/orris
namespace=${1:?usage: run.sh NAMESPACE [RELEASE]}
release=${2:-orris}
results=${LOADTEST_RESULTS:-loadtest-results}
target=${LOADTEST_TARGET:-http://$release/predict}

environment=$(kubectl get namespace "$namespace" --output 'jsonpath={.metadata.labels.orris/environment}')
if [[ $environment == prod || $namespace == *prod* ]]; then
  echo "$namespace is production: no load test here" >&2
  exit 2
fi
revision=$(helm history "$release" --namespace "$namespace" --max 1 --output json | sed 's/.*"revision":\([0-9]*\).*/\1/')

# shellcheck disable=SC2329  # the trap calls it
restore() {
  kubectl delete job,configmap --namespace "$namespace" --selector app.kubernetes.io/name=orris-loadtest --ignore-not-found
  helm rollback "$release" "$revision" --namespace "$namespace" --wait --timeout 5m
}
trap restore EXIT

job() { # CONNECTIONS REPLICAS
  local name=orris-loadtest-$1 status=0
  helm upgrade "$release" "$chart" --namespace "$namespace" --reuse-values --values "$here/values-hpa-max-$2.yaml" --wait --timeout 5m
  sed "s|http://orris/predict|$target|" "$here/job-$1.yaml" | kubectl apply --namespace "$namespace" --filename -
  # Whichever comes first: a job that failed never becomes complete.
  for _ in $(seq 60); do
    status=$(kubectl get job "$name" --namespace "$namespace" --output 'jsonpath={.status.succeeded}/{.status.failed}')
    [[ $status == / ]] || break
    sleep 5
  done
  {
    kubectl logs "job/$name" --namespace "$namespace"
    kubectl get hpa,pods --namespace "$namespace" --output wide
  } | tee "$results/$name.txt"
  [[ $status == 1/ ]] || { echo "$name failed" >&2; return 1; }
}

mkdir -p "$results"
kubectl apply --namespace "$namespace" --filename "$here/configmap.yaml"
failed=0
job 1000 3 || failed=1
job 2000 1 || failed=1
exit "$failed"
