#!/usr/bin/env bash
# Packages the chart under a version, pushes it to a registry and signs it by digest (keyless, with the identity of the workflow):
#
#   scripts/chart.sh VERSION REGISTRY/charts
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=${1:?usage: scripts/chart.sh VERSION REGISTRY/charts}
CHARTS=${2:?usage: scripts/chart.sh VERSION REGISTRY/charts}

helm package charts/orris --version "$VERSION" --app-version "$VERSION" --destination build/chart >&2
said=$(helm push "build/chart/orris-$VERSION.tgz" "oci://$CHARTS" 2>&1)
echo "$said" >&2
digest=$(sed -n 's/^Digest: *\(sha256:[0-9a-f]\{64\}\).*/\1/p' <<<"$said")
[[ -n $digest ]] || {
  echo "error: helm push named no digest" >&2
  exit 1
}
cosign sign --yes "$CHARTS/orris@$digest" >&2
echo "Chart \`oci://$CHARTS/orris:$VERSION@$digest\`"
