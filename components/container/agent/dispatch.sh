clean_environment
case ${1:-} in
  apply | remove | probe) "$@" ;;
  *) fail "usage: agent apply TOKEN KIND ARGUMENT… | remove KIND ARGUMENT… | probe CALENDAR JITTER TIME-LIMIT GRANTS…" ;;
esac
