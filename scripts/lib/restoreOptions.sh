# shellcheck shell=bash
# What restore.sh was asked for.

# shellcheck disable=SC2034 # read by restore.sh's other parts
read_options() {
  FILE='' DATABASE='' MOMENT='' LATEST=0 MODE='' TARGET='' TABLES=() JOBS='' YES=0 CLEAN_UP=0 WITH_GLOBALS=0
  FROM='' FETCH=0 DIRECTORY='' IDENTITY_FILE='' GLOBALS_FILE=''
  while (($#)); do
    case $1 in
      --help | -h)
        print_help
        exit 0
        ;;
      latest) LATEST=1 ;;
      --yes) YES=1 ;;
      --plan) PLAN=1 ;;
      --clean-up) CLEAN_UP=1 ;;
      --fetch) FETCH=1 ;;
      --globals) WITH_GLOBALS=1 ;;
      --file | --database | --at | --into | --new | --as | --table | --jobs | --from | --work | --identity)
        if [[ -z ${2:-} ]]; then refuse_usage "$1 needs a value"; fi
        read_value "$1" "$2"
        shift
        ;;
      *) refuse_usage "unknown option '$1'" ;;
    esac
    shift
  done
  if ((!CLEAN_UP)); then check_options; fi
}

read_value() {
  local option=$1 value=$2
  case $option in
    --file) FILE=$(resolve_path "$value") ;;
    --database) DATABASE=$value ;;
    --at) read_moment "$value" ;;
    --table) TABLES+=("$value") ;;
    --jobs) JOBS=$value ;;
    --from) FROM=$value ;;
    --work) DIRECTORY=$(readlink -m -- "$value") ;;
    --identity) IDENTITY_FILE=$(readlink -m -- "$value") ;;
    --into | --new | --as)
      if [[ -n $MODE ]]; then refuse_usage "one of --into, --new and --as only"; fi
      MODE=${option#--} TARGET=$value
      ;;
  esac
}

check_options() {
  local table
  check_source_options
  if ((FETCH)); then return; fi
  if [[ -z $MODE ]]; then refuse_usage "one of --into, --new and --as is needed"; fi
  if ((${#TARGET} > 63)) || [[ $TARGET == *[[:cntrl:]]* ]]; then
    refuse_usage "--$MODE is '$TARGET': must be 1 to 63 bytes without control characters"
  fi
  if [[ -n $JOBS && ! $JOBS =~ ^[1-9][0-9]?$ ]]; then refuse_usage "--jobs is '$JOBS': must be 1 to 99"; fi
  if [[ -n $JOBS && $MODE == into ]]; then
    refuse_usage "--jobs and --into exclude each other: side by side is not one transaction, and a failure would leave" \
      "'$TARGET' half restored. Restore with --as beside it, or without --jobs"
  fi
  for table in "${TABLES[@]}"; do
    if [[ ! $table =~ ^${NAME_PATTERN}\.${NAME_PATTERN}$ ]]; then
      refuse_usage "--table is '$table': must be schema.name as in the manifest, odd names in quotes, e.g. public.\"Odd Name\""
    fi
  done
}

check_source_options() {
  if (($(count_set "$FILE" "$MOMENT" "${LATEST#0}") != 1)); then refuse_usage "one of --file, latest and --at is needed"; fi
  if [[ -z $DATABASE && $MODE == into ]]; then DATABASE=$TARGET; fi
  if [[ -z $FILE && -z $DATABASE ]]; then refuse_usage "--database is missing: whose dump?"; fi
  check_from
  if [[ -z $FROM ]] && { ((FETCH)) || [[ -n $DIRECTORY || -n $IDENTITY_FILE ]]; }; then
    refuse_usage "--fetch, --work and --identity go with --from"
  fi
  if [[ -n $FROM && $FILE == */* ]]; then refuse_usage "--file is '$FILE': with --from it must be a name, not a path"; fi
  if [[ -n $FROM ]] && ((PLAN)); then
    refuse_usage "--plan changes nothing, and --from fetches: first --from $FROM --fetch, then --file … --plan"
  fi
  if ((FETCH)) && [[ -n $MODE ]]; then refuse_usage "--fetch restores nothing: leave --$MODE out, or --fetch"; fi
}

# How many of the arguments are not empty.
count_set() {
  local value count=0
  for value in "$@"; do if [[ -n $value ]]; then count=$((count + 1)); fi; done
  printf '%s' "$count"
}

# Sets MOMENT, as manifests write times. Only what cannot be misread is taken: date and time, in UTC or with an offset.
read_moment() {
  local text=$1 pattern='^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?( ?(Z|UTC|[+-][0-9]{2}:?[0-9]{2}))?$'
  if [[ ! $text =~ $pattern ]] || ! MOMENT=$(TZ=UTC date -u -d "$text" '+%Y-%m-%dT%H:%M:%S.000Z' 2>/dev/null); then
    refuse_usage "--at is '$text': must be a time like '2026-11-20 14:00' (UTC) or '2026-11-20 14:00 +0100'"
  fi
}
