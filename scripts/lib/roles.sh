# shellcheck shell=bash
# The roles that a dump refers to: pg_dump holds none of them, pg_restore fails without them.

# A name in SQL as pg_dump writes it.
readonly NAME_PATTERN='("([^"]|"")+"|[a-zA-Z_][a-zA-Z0-9_$]*)'

# Sets LEAVES_GRANTS: whether grants have to be left out.
check_roles() {
  local missing
  LEAVES_GRANTS=0
  list_roles >"$WORK/roles"
  if ((WITH_GLOBALS)); then
    check_globals
    return
  fi
  if [[ $MODE == new ]]; then
    check_new_owner
    missing=$(find_missing other)
    if [[ -z $missing && -n $(find_missing grant) ]]; then
      warn "grants are left out, because roles that have some in the dump are not on this server: $(find_missing grant)"
      # shellcheck disable=SC2034 # read by restore.sh
      LEAVES_GRANTS=1
    fi
  else
    missing=$(find_missing owner grant other)
  fi
  if [[ -n $missing ]]; then
    fail "roles that the dump refers to are not on this server: $missing. Create them first, or say --globals"
  fi
}

check_new_owner() {
  if [[ -z $(find_owner) ]]; then
    warn "the role that owned '$SOURCE' is not on this server: everything will belong to postgres"
  fi
}

# KIND...: those that the server does not have, for people.
find_missing() {
  local kind names=''
  for kind in "$@"; do names+=$(sed -n "s/^$kind //p" "$WORK/roles")$'\n'; done
  query postgres "select string_agg(quote_ident(name), ', ' order by name)
    from (select distinct name from unnest(string_to_array($(quote_literal "$names"), E'\n')) as name) as named
    where name <> '' and name not in (select rolname from pg_roles);"
}

# owner NAME, grant NAME or other NAME (of policies and user mappings), one a line.
list_roles() {
  local name=$NAME_PATTERN type='' line names
  while IFS= read -r line; do
    if [[ $line =~ ^--\ Name:\ .*\;\ Type:\ ([A-Z ]+)\;\ Schema:\ .*\;\ Owner:\ (.*)$ ]]; then
      type=${BASH_REMATCH[1]}
      if [[ ${BASH_REMATCH[2]} != - ]]; then printf 'owner %s\n' "${BASH_REMATCH[2]}"; fi
    elif [[ $type == *ACL && $line =~ ^(GRANT|ALTER\ DEFAULT\ PRIVILEGES)\ .*\ TO\ ($name)(\ WITH\ GRANT\ OPTION)?\;$ ]]; then
      printf 'grant %s\n' "$(unquote_names "${BASH_REMATCH[2]}")"
    elif [[ $type == POLICY && $line =~ ^CREATE\ POLICY\ $name\ ON\ $name(\.$name)?(\ AS\ [A-Z]+)?(\ FOR\ [A-Z]+)?\ TO\ ($name(,\ $name)*) ]]; then
      while IFS= read -r names; do printf 'other %s\n' "$names"; done < <(unquote_names "${BASH_REMATCH[10]}")
    elif [[ $type == 'USER MAPPING' && $line =~ ^CREATE\ USER\ MAPPING\ FOR\ ($name)\ SERVER ]]; then
      printf 'other %s\n' "$(unquote_names "${BASH_REMATCH[1]}")"
    fi
  done < <("${AS_ACCOUNT[@]}" pg_restore --schema-only --file=- -- "$DUMP" | grep -E '^(-- Name: |GRANT |ALTER DEFAULT |CREATE POLICY |CREATE USER MAPPING )') |
    grep -vE '^[a-z]+ (PUBLIC)?$' | sort -u
}

# The names of a list in SQL, one a line.
unquote_names() {
  grep -oE "$NAME_PATTERN" <<<"$1" | sed -e 's/^"\(.*\)"$/\1/' -e 's/""/"/g'
}
