{{/* `helm test`: pods of the server's own image, which ask with `orris ping`. */}}

{{- define "orris.testSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{/* The spec of a pod that asks each URL with a container: (dict "root" $ "urls" (list …)). */}}
{{- define "orris.askingPod" -}}
{{- $root := .root -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
activeDeadlineSeconds: 120
securityContext: {{- include "orris.podSecurity" $root | nindent 2 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  {{- range $index, $url := .urls }}
  - name: ping-{{ $index }}
    image: {{ include "orris.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: [ping, {{ $url | quote }}, --timeout, "30"]
    securityContext: {{- include "orris.containerSecurity" $root | nindent 6 }}
    resources:
      requests: {cpu: 100m, memory: 128Mi}
      limits: {memory: 128Mi}
  {{- end }}
{{- end }}

{{/* One test: (dict "root" $ "name" "http" "urls" (list …)). */}}
{{- define "orris.test" -}}
{{- $root := .root }}
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "orris.fullname" $root }}-test-{{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "orris.testSelector" $root | nindent 4 }}
    app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  annotations:
    helm.sh/hook: test
    # One that failed would outlive the release, which does not own it; Helm 4 prints its log first.
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
    helm.sh/hook-output-log-policy: hook-failed
spec: {{- include "orris.askingPod" . | nindent 2 }}
{{- end }}

{{/* What is asked over V2 and over gRPC at a service: (dict "root" $ "service" "orris"). Of the model, if it has a name here. */}}
{{- define "orris.v2Url" -}}
{{- $values := .root.Values -}}
http://{{ .service }}:{{ $values.service.port }}/v2/{{ if $values.model.name }}models/{{ $values.model.name }}/ready{{ else }}health/ready{{ end }}
{{- end }}
{{- define "orris.grpcUrl" -}}
{{- $values := .root.Values -}}
grpc://{{ .service }}:{{ $values.service.grpcPort }}{{ if $values.model.name }}/{{ $values.model.name }}{{ end }}
{{- end }}
