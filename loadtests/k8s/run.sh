#!/usr/bin/env bash
# The reference project's load test on a cluster: 1,000 connections while the autoscaler may go to 3 replicas, then 2,000 while it may go to 1 only.
#
#   loadtests/k8s/run.sh NAMESPACE [RELEASE]             the test
#   loadtests/k8s/run.sh --restore NAMESPACE [RELEASE]   puts back what a run left that was killed before it could
#
# It changes no release of Helm: it limits what scales, in place. An HPA gets other minReplicas and maxReplicas, a ScaledObject other counts; a
# release without an autoscaler gets an HPA for the time of the test. What was there is written down in the cluster (ConfigMap RELEASE-loadtest-state)
# before anything is changed, and put back at the end, however it ends; after a kill -9 by the next run, or by --restore. Never run it against
# production: it refuses a namespace that is labelled orris/environment=prod. Needs kubectl.
#
# LOADTEST_RESULTS          loadtest-results: where the results go
# LOADTEST_TARGET           http://RELEASE/predict
# LOADTEST_JOB_SECONDS      300: longest time of one job
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage='usage: run.sh [--restore] NAMESPACE [RELEASE]'
only_restore=
if [[ ${1:-} == --restore ]]; then
  only_restore=yes
  shift
fi
namespace=${1:?$usage}
release=${2:-orris}
results=${LOADTEST_RESULTS:-loadtest-results}
target=${LOADTEST_TARGET:-http://$release/predict}
patience=${LOADTEST_JOB_SECONDS:-300}
state=$release-loadtest-state
run=$(date -u +%Y%m%d%H%M%S)-$$
label=app.kubernetes.io/name=orris-loadtest

kube() {
  kubectl --namespace "$namespace" "$@"
}

# What a key of the written state holds.
written() {
  kube get configmap "$state" --output "jsonpath={.data.$1}"
}

environment=$(kubectl get namespace "$namespace" --output 'jsonpath={.metadata.labels.orris/environment}')
if [[ $environment == prod || $namespace == *prod* ]]; then
  echo "$namespace is production: no load test here" >&2
  exit 2
fi

# Puts back what is written down; may be repeated. The state goes last: a restoration that was killed is done again.
restore() {
  kube delete job,configmap --selector "$label" --ignore-not-found --wait=false
  if ! kube get configmap "$state" >/dev/null 2>&1; then return; fi
  case $(written kind) in
    hpa) kube patch hpa "$release" --type merge --patch "$(written patch)" ;;
    scaledobject) kube patch scaledobject "$release" --type merge --patch "$(written patch)" ;;
    none)
      kube delete hpa "$release-loadtest" --ignore-not-found
      kube scale "$(written workload)" --replicas "$(written replicas)"
      ;;
  esac
  kube delete configmap "$state"
}

# Writes down what scales: NAME=VALUE …
write_down() {
  local -a given=()
  local each
  for each in "$@"; do given+=(--from-literal "$each"); done
  kube create configmap "$state" "${given[@]}"
}

# Finds what scales the release, and writes down what it is.
find_scaler() {
  local workload=deployment/$release limits
  if kube get scaledobject "$release" >/dev/null 2>&1; then
    limits=$(kube get scaledobject "$release" --output 'jsonpath={.spec.minReplicaCount}/{.spec.maxReplicaCount}/{.spec.fallback.replicas}')
    IFS=/ read -r least most fallback <<<"$limits"
    write_down kind=scaledobject \
      "patch={\"spec\":{\"minReplicaCount\":${least:-null},\"maxReplicaCount\":${most:-null}${fallback:+,\"fallback\":{\"replicas\":$fallback\}}}}"
  elif kube get hpa "$release" >/dev/null 2>&1; then
    limits=$(kube get hpa "$release" --output 'jsonpath={.spec.minReplicas}/{.spec.maxReplicas}')
    write_down kind=hpa "patch={\"spec\":{\"minReplicas\":${limits%/*},\"maxReplicas\":${limits#*/}}}"
  else
    if ! kube get "$workload" >/dev/null 2>&1; then workload=rollout.argoproj.io/$release; fi
    write_down kind=none "workload=$workload" "replicas=$(kube get "$workload" --output 'jsonpath={.spec.replicas}')"
  fi
}

# The autoscaler may go to that many replicas, from one: limit REPLICAS
limit() {
  case $(written kind) in
    hpa) kube patch hpa "$release" --type merge --patch "{\"spec\":{\"minReplicas\":1,\"maxReplicas\":$1}}" ;;
    scaledobject)
      local fallback=
      [[ $(written patch) != *fallback* ]] || fallback=",\"fallback\":{\"replicas\":$1}"
      kube patch scaledobject "$release" --type merge --patch "{\"spec\":{\"minReplicaCount\":1,\"maxReplicaCount\":$1$fallback}}"
      ;;
    none)
      local version=apps/v1 kind=Deployment
      if [[ $(written workload) == rollout* ]]; then version=argoproj.io/v1alpha1 kind=Rollout; fi
      kube apply --filename - <<HPA
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: $release-loadtest, labels: {app.kubernetes.io/name: orris-loadtest}}
spec:
  scaleTargetRef: {apiVersion: $version, kind: $kind, name: $release}
  minReplicas: 1
  maxReplicas: $1
  metrics:
    - type: ContainerResource
      containerResource: {container: orris, name: cpu, target: {type: Utilization, averageUtilization: 60}}
HPA
      ;;
  esac
}

# One job, under a name that no earlier run has used: job CONNECTIONS REPLICAS
job() {
  local name=orris-loadtest-$1-$run status=/ end=$((SECONDS + patience))
  limit "$2"
  sed -e "s|http://orris/predict|$target|" -e "s|^  name: orris-loadtest-$1\$|  name: $name|" "$here/job-$1.yaml" | kube create --filename -
  # Whichever comes first: a job that failed never becomes complete.
  while [[ $status == / ]] && ((SECONDS < end)); do
    sleep 1
    status=$(kube get job "$name" --output 'jsonpath={.status.succeeded}/{.status.failed}')
  done
  {
    kube logs "job/$name" || echo "no log of $name"
    kube get hpa,pods --output wide
  } | tee "$results/orris-loadtest-$1.txt"
  [[ $status == 1/ ]] || { echo "orris-loadtest-$1 failed: the job $name" >&2; return 1; }
}

restore # what a killed run left
[[ -z $only_restore ]] || exit 0
trap 'trap "" HUP INT TERM; restore' EXIT # once it puts things back, it finishes that
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
find_scaler
mkdir -p "$results"
kube apply --filename "$here/configmap.yaml"
failed=0
job 1000 3 || failed=1
job 2000 1 || failed=1
exit "$failed"
