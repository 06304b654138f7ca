{{- define "ecr-emulator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "ecr-emulator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ecr-emulator.labels" -}}
{{ include "ecr-emulator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- /* "yes" where the stores are shared; says what is wrong where only one of them is. */ -}}
{{- define "ecr-emulator.scaled" -}}
{{- with .Values.stores -}}
{{- if .existingSecret -}}
  {{- if or .metadataUrl .blobsUrl }}{{ fail "stores.existingSecret takes the place of stores.metadataUrl and stores.blobsUrl" }}{{ end -}}
yes
{{- else if and .metadataUrl .blobsUrl -}}
yes
{{- else if or .metadataUrl .blobsUrl -}}
  {{- fail "stores.metadataUrl and stores.blobsUrl need each other" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ecr-emulator.secret" -}}
{{ .Values.stores.existingSecret | default (include "ecr-emulator.name" .) }}
{{- end -}}

{{- /* A setting as text: YAML takes on and off for booleans, and Helm large numbers for fractions. */ -}}
{{- define "ecr-emulator.setting" -}}
{{- if kindIs "bool" . -}}
{{ ternary "on" "off" . }}
{{- else if kindIs "string" . -}}
{{ . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}
