# shellcheck shell=bash
# How dumps are compressed: what COMPRESSION asks for, as far as this pg_dump can.

# Sets COMPRESSION_USED, for the manifest, and COMPRESS_OPTIONS, for pg_dump.
choose_compression() {
  # shellcheck disable=SC2034 # given to pg_dump by dump.sh
  COMPRESSION_USED=$COMPRESSION COMPRESS_OPTIONS=()
  if [[ $COMPRESSION == zstd* ]] && ! can_compress "$COMPRESSION"; then
    fail "COMPRESSION is '$COMPRESSION', which $(pg_dump --version) cannot: must be 'auto', 'gzip' or 'none'," \
      "or install postgresql-client-16 or newer, built with zstd"
  fi
  if [[ $COMPRESSION == auto ]]; then
    if can_compress zstd; then COMPRESSION_USED=zstd; else COMPRESSION_USED=gzip; fi
  fi
  # shellcheck disable=SC2034 # given to pg_dump by dump.sh
  case $COMPRESSION_USED in
    gzip) ;;                                                             # the default of every version of the custom format
    gzip:*) COMPRESS_OPTIONS=(--compress="${COMPRESSION_USED#gzip:}") ;; # as versions before 16 want it
    none) COMPRESS_OPTIONS=(--compress=0) ;;
    zstd*) COMPRESS_OPTIONS=(--compress="$COMPRESSION_USED") ;;
  esac
}

# Asks pg_dump itself: a method that it knows, and was built with, lets it come as far as a server that is not there.
can_compress() {
  cmp --silent <(try_compression "$1") <(try_compression 0)
}

try_compression() {
  pg_dump --format=custom --compress="$1" --dbname="host=/nonexistent dbname=none" 2>&1 || true
}
