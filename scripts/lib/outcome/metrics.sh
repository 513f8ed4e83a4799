# shellcheck shell=bash
# Metrics for node_exporter's textfile collector, a file for backups and one for drills: METRICS_DIRECTORY/METRICS_NAME.prom.
# What is true of the last good run and of the dumps that are there stays true after a bad one.

write_metrics() {
  local file=$METRICS_DIRECTORY/$METRICS_NAME.prom partial=$METRICS_DIRECTORY/.$METRICS_NAME.prom.partial
  if [[ ! -d $METRICS_DIRECTORY || ! -w $METRICS_DIRECTORY ]]; then
    fail "METRICS_DIRECTORY is '$METRICS_DIRECTORY': must be a directory that $(id -un) may write: run pulumi up"
  fi
  # Errors of a group in a pipe would go unseen: the text is made first.
  METRICS=''
  "add_metrics_of_$SUBJECT"
  printf '%s' "$METRICS" >"$partial"
  chmod 0644 -- "$partial"
  mv -f -- "$partial" "$file"
}

# PREFIX RUN SUCCESS: what is on record of the runs, and in words what a success is.
add_runs() {
  local prefix=$1 run=$2 success=$3 record
  record=$(make_record)
  add_metric "${prefix}last_attempt_timestamp_seconds" "When the last $run began." '' "$STARTED"
  add_metric "${prefix}last_exit_status" "Exit status of the last $run; 128 + signal if one ended it." '' "$STATUS"
  add_metric "${prefix}consecutive_failures" "${run^}s that failed since the last success." '' \
    "$(jq .failures <<<"$record")"
  add_metric "${prefix}last_success_timestamp_seconds" "$success" '' "$(jq '.last_success // empty' <<<"$record")"
  add_metric "${prefix}last_success_duration_seconds" 'How long that took.' '' \
    "$(jq '.last_success_seconds // empty' <<<"$record")"
}

label() {
  local value=${2//\\/\\\\}
  value=${value//\"/\\\"}
  printf '%s="%s"' "$1" "${value//$'\n'/\\n}"
}

# NAME HELP LABELS VALUE: a sample; its heading goes before the first one. Without a value there is no sample.
add_metric() {
  local name=pgbackup_$1 help=$2 labels=$3 value=${4// /} sample
  if [[ -z $value ]]; then return; fi
  labels=$(label name "$BACKUP_NAME")${labels:+,$labels}
  sample="$name{$labels} $value"
  if [[ $METRICS != *"# TYPE $name gauge"* ]]; then
    METRICS+="# HELP $name $help"$'\n'"# TYPE $name gauge"$'\n'"$sample"$'\n'
  else
    METRICS=${METRICS/"# TYPE $name gauge"/"# TYPE $name gauge"$'\n'"$sample"}
  fi
}
