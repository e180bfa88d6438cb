{{/* What Prometheus is asked. The names and labels are those of src/orris/telemetry; a test holds them. */}}

{{/* Labels of this release's series: (dict "root" $ "more" `,status=~"5.."`). */}}
{{- define "orris.series" -}}
{job="{{ .root.Chart.Name }}",namespace="{{ .root.Release.Namespace }}",service="{{ include "orris.fullname" .root }}"{{ .more }}}
{{- end }}

{{/* 0 while the release is scraped, nothing otherwise: what has never been counted has no series yet, and NaN is nobody's number. */}}
{{- define "orris.zero" -}}
sum(orris_requests_in_flight{{ include "orris.series" . }}) * 0
{{- end }}

{{- define "orris.routes" -}}
,method="POST",route=~".*(predict|infer|invocations|invoke)/?"
{{- end }}

{{- define "orris.codes" -}}
,method="ModelInfer",code=~"UNKNOWN|INTERNAL|UNAVAILABLE|DATA_LOSS|DEADLINE_EXCEEDED"
{{- end }}

{{/* Failed predictions a second: (dict "root" $ "more" "" "window" "2m"). */}}
{{- define "orris.failures" -}}
{{- $http := dict "root" .root "more" (printf `%s%s,status=~"5.."` .more (include "orris.routes" .root)) -}}
{{- $grpc := dict "root" .root "more" (printf "%s%s" .more (include "orris.codes" .root)) -}}
((sum(rate(http_requests_total{{ include "orris.series" $http }}[{{ .window }}])) or {{ include "orris.zero" . }})
  + (sum(rate(orris_grpc_requests_total{{ include "orris.series" $grpc }}[{{ .window }}])) or {{ include "orris.zero" . }}))
{{- end }}

{{/* Predictions asked for a second, failed ones too. */}}
{{- define "orris.requests" -}}
{{- $http := dict "root" .root "more" (printf "%s%s" .more (include "orris.routes" .root)) -}}
{{- $grpc := dict "root" .root "more" (printf `%s,method="ModelInfer"` .more) -}}
((sum(rate(http_requests_total{{ include "orris.series" $http }}[{{ .window }}])) or {{ include "orris.zero" . }})
  + (sum(rate(orris_grpc_requests_total{{ include "orris.series" $grpc }}[{{ .window }}])) or {{ include "orris.zero" . }}))
{{- end }}

{{/* 99th percentile of the time to answer, in seconds; 0 if nobody asked. */}}
{{- define "orris.latency" -}}
{{- $http := dict "root" .root "more" (printf "%s%s" .more (include "orris.routes" .root)) -}}
(histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{{ include "orris.series" $http }}[{{ .window }}]))) >= 0) or {{ include "orris.zero" . }}
{{- end }}

{{/* Largest PSI of the predictions of those pods that have enough rows. */}}
{{- define "orris.drift" -}}
max(orris_drift_prediction_psi{{ include "orris.series" . }} and on (job, instance, model, version) orris_drift_rows{{ include "orris.series" . }} >= {{ .rows }}) or {{ include "orris.zero" . }}
{{- end }}

{{/* Which analysis, of which pods. */}}
{{- define "orris.analysis" -}}
templates:
  - templateName: {{ include "orris.fullname" . }}
args:
  - name: pods
    valueFrom: {podTemplateHashValue: Latest}
{{- end }}
