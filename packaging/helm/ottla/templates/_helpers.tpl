{{- define "ottla.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "ottla.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ottla.labels" -}}
{{ include "ottla.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "ottla.properties" -}}
{{- $host := printf "%s.%s.svc" (include "ottla.name" .) .Release.Namespace }}
{{- $listen := list }}{{- $advertised := list }}{{- $map := list }}
{{- range .Values.listeners }}
{{- $listen = append $listen (printf "%s://0.0.0.0:%d" .name (int .port)) }}
{{- $advertised = append $advertised (printf "%s://%s" .name (default (printf "%s:%d" $host (int .port)) .advertised)) }}
{{- $map = append $map (printf "%s:%s" .name .protocol) }}
{{- end }}
{{- range $key, $value := .Values.config }}
{{- /* Helm reads numbers as floating point, and would write large ones so. */}}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}{{ $value = int64 $value }}{{ end }}
{{- printf "%s=%v\n" $key $value }}
{{- end -}}
listeners={{ join "," $listen }}
advertised.listeners={{ join "," $advertised }}
listener.security.protocol.map={{ join "," $map }}
log.dirs=/var/lib/kafka/data/ottla
ottla.metrics.listen=0.0.0.0:{{ .Values.metrics.port }}
{{- end }}
