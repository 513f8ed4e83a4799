# shellcheck shell=bash
# What a database is besides its content: encoding, locale, settings, grants, connection limit, comment. A dump's own
# table of contents has the statements, under the name that the database had; pg_restore would run them under no other.
# Needs pick.sh and postgres.sh.

# WORKING FINAL [--no-tablespaces]: writes them, for a database that is called WORKING while it is filled and FINAL afterwards:
#   WORK/definition.create      CREATE DATABASE, without an owner, not ended
#   WORK/definition.settings    settings that what is restored may depend on, materialized views for example
#   WORK/definition.properties  for when it is whole: the rest
#   WORK/definition.grants      the same, where it names other roles
#   WORK/definition.unknown     what none of these is
read_definition() {
  local working=$1 final=$2 placeless=0 file
  if [[ ${3:-} == --no-tablespaces ]]; then placeless=1; fi
  for file in create settings properties grants unknown; do : >"$WORK/definition.$file"; done
  list_entries '((DATABASE|DATABASE PROPERTIES) - |(ACL|COMMENT|SECURITY LABEL) - DATABASE )' >"$WORK/definition.list"
  chmod 0644 -- "$WORK/definition.list"
  "${AS_ACCOUNT[@]}" pg_restore --create --schema-only --no-owner --use-list="$WORK/definition.list" --file=- -- "$DUMP" |
    WORKING=$(quote_name "$working") FINAL=$(quote_name "$final") awk -v base="$WORK/definition." -v name="$NAME_PATTERN" \
      -v placeless="$placeless" -f "${BASH_SOURCE[0]%/*}/literals.awk" -f "${BASH_SOURCE[0]%/*}/collect.awk" -f "${BASH_SOURCE[0]%.sh}.awk"
  if [[ ! -s $WORK/definition.create ]]; then
    fail "$DUMP does not say how its database was made: make one yourself, with createdb, and restore into it with --new"
  fi
  if [[ -s $WORK/definition.unknown ]]; then warn "left out, because it is not known here: $(<"$WORK/definition.unknown")"; fi
}

# FILE: the statements of an SQL file, each ended by a NUL. Not its lines: a role may have a setting whose text has lines
# that look like statements.
print_statements() {
  awk -f "${BASH_SOURCE[0]%/*}/literals.awk" -f "${BASH_SOURCE[0]%/*}/collect.awk" -f "${BASH_SOURCE[0]%/*}/separate.awk" "$1"
}
