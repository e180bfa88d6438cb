#!/usr/bin/env bash
# The autoscaling experiment as the workflow runs it: never against production, with a limit that is held, and with Flux standing aside
# meanwhile, which would otherwise undo what the test changes. Flux is in charge again at the end, however it ends. Needs jq.
#
# ENVIRONMENT   dev, stage or kind; anything else is refused, and so is a cluster whose context is called prod
# NAMESPACE     orris
# MAX_P99_MS    1000: more than that is a failure
# OUT           build/loadtest: the results
# ORRIS         .venv/bin/orris, with the extra 'experiment'
set -euo pipefail
cd "$(dirname "$0")/.."

ENVIRONMENT=${ENVIRONMENT:?is needed: dev, stage or kind}
NAMESPACE=${NAMESPACE:-orris}
MAX_P99_MS=${MAX_P99_MS:-1000}
OUT=${OUT:-build/loadtest}
ORRIS=${ORRIS:-.venv/bin/orris}

case $ENVIRONMENT in dev | stage | kind) ;; *) echo "error: ENVIRONMENT=$ENVIRONMENT: a load test never runs there" >&2 && exit 2 ;; esac
context=$(kubectl config current-context)
if [[ $context =~ (^|[^a-z])(prod|production|live)([^a-z]|$) ]]; then
  echo "error: the context is $context, which is called production: a load test never runs there" >&2
  exit 2
fi

if command -v flux >/dev/null && kubectl get helmrelease orris --namespace "$NAMESPACE" >/dev/null 2>&1; then
  trap 'flux resume helmrelease orris --namespace "$NAMESPACE"' EXIT
  flux suspend helmrelease orris --namespace "$NAMESPACE"
fi

mkdir -p "$OUT"
failed=0
"$ORRIS" experiment autoscaling --context "$context" --namespace "$NAMESPACE" --output "$OUT" || failed=1
for connections in 1000 2000; do
  # p99 and failed requests; a load without numbers has neither.
  read -r p99 lost < <(jq --raw-output --argjson connections "$connections" \
    '.scenarios[] | select(.connections == $connections and .load != null) | "\(.load.p99_ms) \(.load.failed)"' "$OUT/autoscaling.json") || p99="" lost=""
  if [[ -z $p99 ]] || awk "BEGIN { exit !($p99 > $MAX_P99_MS) }"; then
    echo "error: $connections connections: p99 is ${p99:-missing} ms, and $MAX_P99_MS are allowed" >&2
    failed=1
  elif [[ $lost != 0 ]]; then
    echo "error: $connections connections: $lost requests failed" >&2
    failed=1
  else
    echo "$connections connections: p99 $p99 ms, within $MAX_P99_MS"
  fi
done
exit "$failed"
