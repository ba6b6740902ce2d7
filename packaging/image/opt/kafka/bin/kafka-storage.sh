#!/usr/bin/env bash
# Kafka's directory has to be formatted before the first start, Ottla's has not. What a format is told is kept for that start.
set -euo pipefail
formatted=/etc/kafka/formatted

# An option and its value, as OPTION VALUE or as OPTION=VALUE.
value() {
  if [[ $1 == *=* ]]; then printf '%s' "${1#*=}"; else printf '%s' "${2:?"$1 needs a value"}"; fi
}

command=${1:-}
case $command in
random-uuid)
  id=-
  while [[ $id == -* ]]; do
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
  done
  echo "$id"
  ;;
format)
  shift
  umask 077 # there are passwords
  mkdir -p "$formatted"
  while (($#)); do
    case $1 in
    -t | --cluster-id | --cluster-id=*) value "$@" > "$formatted/cluster-id" ;;
    -S | --add-scram | --add-scram=*)
      # A container that is started again formats again.
      user=$(value "$@")
      grep -qxFs -- "$user" "$formatted/add-scram" || printf '%s\n' "$user" >> "$formatted/add-scram"
      ;;
    esac
    shift
  done
  ;;
*)
  echo "kafka-storage: $command: Ottla's image knows format and random-uuid" >&2
  exit 2
  ;;
esac
