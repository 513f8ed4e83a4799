# shellcheck shell=bash
# The settings of whoever tells. A broken settings file is one reason why nights and drills fail: what it still says of whom
# to tell, and where, is then used all the same.

readonly OUTCOME_KEYS=(BACKUP_NAME BACKUP_ROLE BACKUP_DIRECTORY BACKUP_STATE BACKUP_VMID BACKUP_HOST BACKUP_COMMAND DRILL_COMMAND
  OUTCOME_SECRETS NOTIFY_COMMAND NOTIFY_MAIL METRICS_DIRECTORY)
readonly OUTCOME_SECRET_KEYS=(NOTIFY_WEBHOOK PING_URL)

load_outcome_settings() {
  SETTINGS_PROBLEM=''
  if SETTINGS_PROBLEM=$(load_settings 2>&1); then
    load_settings
  else
    warn "$SETTINGS_PROBLEM"
    unset -v "${SETTING_KEYS[@]}"
    source_assignments "$BACKUP_ENV" "${OUTCOME_KEYS[@]}"
    fill_defaults
  fi
  load_outcome_secrets
}

load_outcome_secrets() {
  # shellcheck disable=SC2034 # channels.sh
  NOTIFY_WEBHOOK='' PING_URL=''
  if [[ -z $OUTCOME_SECRETS ]]; then return; fi
  source_assignments "$OUTCOME_SECRETS" "${OUTCOME_SECRET_KEYS[@]}"
  check_secret_url NOTIFY_WEBHOOK
  check_secret_url PING_URL
}

# FILE KEY...: takes over the lines that are a whole KEY='value' of these keys. Such a line can do nothing but assign.
source_assignments() {
  local file=$1 keys
  shift
  if ! (check_trusted "$file" 'settings file'); then
    FAILED+=("reading $file")
    return
  fi
  keys=$(IFS='|' && printf '%s' "$*")
  # shellcheck source=/dev/null
  source <(grep -E "^($keys)='([^']|'\\\\'')*'\$" -- "$file" || true)
}

# Not shown: who knows the URL may write there.
check_secret_url() {
  local key=$1
  if [[ -n ${!key} && ! ${!key} =~ ^https?://[A-Za-z0-9._:@-]+(/[A-Za-z0-9._~%:@!$\&+,\;=/-]*)?(\?[A-Za-z0-9._~%:@!$\&+,\;=/?-]*)?$ ]]; then
    write_line 3 "error: $OUTCOME_SECRETS: $key (not shown: it is a secret) must be a URL without #"
    FAILED+=("$key")
    printf -v "$key" ''
  fi
}

# Stops unless people can be told; asked each night, so that a way that is gone is not found out when it is needed.
check_channels() {
  local program=${NOTIFY_COMMAND%% *}
  if [[ -n $program && ! -x $program ]]; then
    fail "NOTIFY_COMMAND begins with '$program': must be a program that $(id -un) may run"
  fi
  if [[ -n $NOTIFY_MAIL ]]; then find_sendmail >/dev/null; fi
}

find_sendmail() {
  if ! PATH=$PATH:/usr/sbin:/usr/lib type -P sendmail; then
    fail "NOTIFY_MAIL is '$NOTIFY_MAIL', but there is no sendmail: install one, e.g. the package msmtp-mta or postfix"
  fi
}
