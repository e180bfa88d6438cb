{{/* The pod, of the Deployment and of the Rollout. */}}

{{/* No container may be more than this: the restricted profile of Pod Security, and a read-only root. */}}
{{- define "orris.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "orris.podSecurity" -}}
runAsNonRoot: true
{{- if not .Values.arbitraryUser }}
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* NAME@VERSION in the store at /models, or a bundle's folder. */}}
{{- define "orris.served" -}}
{{- if eq .Values.model.source "store" -}}
{{ .Values.model.name }}@{{ .Values.model.version }}
{{- else -}}
/opt/model
{{- end }}
{{- end }}

{{/* Settings of the server that follow from the values. */}}
{{- define "orris.env" -}}
- {name: ORRIS_PORT, value: "8000"}
- {name: ORRIS_GRPC_PORT, value: {{ ternary "8001" "off" .Values.server.grpc | quote }}}
- {name: ORRIS_STORE, value: /models}
- {name: ORRIS_MODEL, value: {{ include "orris.served" . | quote }}}
- {name: ORRIS_WORKERS, value: {{ .Values.server.workers | quote }}}
- {name: ORRIS_THREADS, value: {{ .Values.server.threads | quote }}}
# Libraries that would otherwise start a thread for each of the node's cores.
- {name: OMP_NUM_THREADS, value: {{ .Values.server.threads | quote }}}
- {name: OPENBLAS_NUM_THREADS, value: {{ .Values.server.threads | quote }}}
- {name: ORRIS_DRAIN_SECONDS, value: {{ .Values.shutdown.drainSeconds | quote }}}
- {name: ORRIS_SHUTDOWN_SECONDS, value: {{ .Values.shutdown.finishSeconds | quote }}}
- {name: ORRIS_LOG_LEVEL, value: {{ .Values.server.logLevel }}}
- {name: ORRIS_LOG_FORMAT, value: {{ .Values.server.logFormat }}}
{{- with .Values.auth }}
{{- if .apiKeys.existingSecret }}
- {name: ORRIS_API_KEYS_FILE, value: {{ printf "/etc/orris/api-keys/%s" .apiKeys.key | quote }}}
{{- end }}
{{- if .adminToken.existingSecret }}
- {name: ORRIS_ADMIN_TOKEN_FILE, value: {{ printf "/etc/orris/admin-token/%s" .adminToken.key | quote }}}
{{- end }}
{{- if or .jwt.jwks .jwt.existingSecret }}
- {name: ORRIS_JWT_JWKS, value: {{ default (printf "/etc/orris/jwks/%s" .jwt.key) .jwt.jwks | quote }}}
- {name: ORRIS_JWT_ISSUER, value: {{ .jwt.issuer | quote }}}
- {name: ORRIS_JWT_AUDIENCE, value: {{ .jwt.audience | quote }}}
{{- end }}
{{- if .metrics.required }}
- {name: ORRIS_METRICS_AUTH, value: "true"}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.server.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* Secrets that others made, as (name of the volume, secret). */}}
{{- define "orris.secrets" -}}
{{- with .Values.auth }}
api-keys: {{ .apiKeys.existingSecret | quote }}
admin-token: {{ .adminToken.existingSecret | quote }}
jwks: {{ .jwt.existingSecret | quote }}
{{- end }}
{{- end }}

{{- define "orris.initContainers" -}}
{{- if eq .Values.model.source "store" }}
# Checks every file that it copies; the server reproduces the golden rows.
- name: pull-model
  image: {{ include "orris.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [models, pull, {{ include "orris.served" . | quote }}, {{ .Values.model.store | quote }}]
  env:
    - {name: ORRIS_STORE, value: /models}
  securityContext: {{- include "orris.containerSecurity" . | nindent 4 }}
  resources: {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- if .Values.model.digest }}
- name: verify-model
  image: {{ include "orris.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [models, verify, {{ include "orris.served" . | quote }}, --digest, {{ .Values.model.digest | quote }}]
  env:
    - {name: ORRIS_STORE, value: /models}
  securityContext: {{- include "orris.containerSecurity" . | nindent 4 }}
  resources: {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    {{- include "orris.modelMount" . | trim | nindent 4 }}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- end }}

{{- define "orris.modelMount" -}}
{{- if eq .Values.model.source "store" }}
- {name: models, mountPath: /models, readOnly: true}
{{- else if eq .Values.model.source "oci" }}
- {name: model, mountPath: /opt/model, readOnly: true}
{{- end }}
{{- end }}

{{- define "orris.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 1Gi}}
{{- if eq .Values.model.source "store" }}
- {name: models, emptyDir: {sizeLimit: {{ .Values.model.sizeLimit }}}}
{{- else if eq .Values.model.source "oci" }}
- {name: model, image: {reference: {{ .Values.model.reference | quote }}, pullPolicy: IfNotPresent}}
{{- end }}
{{- range $name, $secret := include "orris.secrets" . | fromYaml }}
{{- if $secret }}
- {name: {{ $name }}, secret: {secretName: {{ $secret | quote }}, defaultMode: 0440}}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "orris.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- include "orris.modelMount" . }}
{{- range $name, $secret := include "orris.secrets" . | fromYaml }}
{{- if $secret }}
# A folder, not a subPath: Kubernetes updates it, and the server reads it again.
- {name: {{ $name }}, mountPath: /etc/orris/{{ $name }}, readOnly: true}
{{- end }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The template of a workload: (dict "root" $ "kind" "Deployment"). */}}
{{- define "orris.pod" -}}
{{- $kind := .kind }}
{{- with .root }}
metadata:
  labels:
    {{- include "orris.selector" . | nindent 4 }}
    app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
    {{- with .Values.model.name }}
    orris.ml/model: {{ . | trunc 63 | quote }}
    {{- end }}
    {{- with .Values.model.version }}
    orris.ml/model-version: {{ . | replace "+" "_" | trunc 63 | quote }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "orris.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Kubernetes would set ORRIS_PORT=tcp://… for a service named orris, and the server refuses such a port.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.shutdown.preStopSeconds .Values.shutdown.drainSeconds .Values.shutdown.finishSeconds 10 }}
  securityContext: {{- include "orris.podSecurity" . | nindent 4 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with include "orris.initContainers" . | trim }}
  initContainers: {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: orris
      image: {{ include "orris.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      env: {{- include "orris.env" . | nindent 8 }}
      ports:
        - {name: http, containerPort: 8000, protocol: TCP}
        {{- if .Values.server.grpc }}
        - {name: grpc, containerPort: 8001, protocol: TCP}
        {{- end }}
      # Has the model been loaded, and has it reproduced its golden rows? Five minutes, then the pod is started anew.
      startupProbe:
        httpGet: {path: /api/v1/health, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 150
      # May requests come? Not while a worker is missing or the server drains. Nothing is restarted. An overloaded server
      # answers late: were it taken away for that, the others would be next.
      readinessProbe:
        httpGet: {path: /ready, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: {{ ternary 3 2 (gt (int .Values.server.workers) 1) }}
      # Does the process answer at all? Depends on neither model nor network.
      livenessProbe:
        httpGet: {path: /health, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      {{- if .Values.shutdown.preStopSeconds }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ .Values.shutdown.preStopSeconds }}}
      {{- end }}
      securityContext: {{- include "orris.containerSecurity" . | nindent 8 }}
      resources: {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts: {{- include "orris.volumeMounts" . | nindent 8 }}
  volumes: {{- include "orris.volumes" . | nindent 4 }}
  {{- if .Values.topologySpread }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "orris.selector" $.root | nindent 10 }}
      # Each version is spread for itself.
      matchLabelKeys: [{{ ternary "rollouts-pod-template-hash" "pod-template-hash" (eq $kind "Rollout") }}]
    {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
