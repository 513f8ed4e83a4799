# shellcheck shell=bash
# The roles that a dump refers to: pg_dump holds none of them, pg_restore fails without them.

# Sets LEAVES_GRANTS: whether grants, and settings of roles, have to be left out. But for --into, sets NEW_OWNER, of
# the database that is filled.
check_roles() {
  LEAVES_GRANTS=0
  read_statements
  list_roles >"$WORK/roles"
  if ((WITH_GLOBALS)); then check_globals; fi
  if [[ $MODE != into ]]; then choose_owner; fi
  if ((!WITH_GLOBALS)); then refuse_missing; fi
}

# Roles that nothing will create.
refuse_missing() {
  local missing granted
  if [[ $MODE == new ]]; then
    missing=$(find_missing other)
    granted=$(find_missing grant)
    if [[ -z $missing && -n $granted ]]; then
      warn "grants, and settings of roles, are left out, because roles that have some in the dump are not on this server:" \
        "$granted"
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

# The owner of the database that was dumped, if such a role is here or will be.
choose_owner() {
  local quoted
  NEW_OWNER=$(read_owner)
  if role_exists "$NEW_OWNER"; then return; fi
  quoted=$(quote_names <<<"$NEW_OWNER")
  if grep -qxF "CREATE ROLE $quoted;" "$WORK/roles.sql" 2>/dev/null; then return; fi
  NEW_OWNER=''
  if [[ $MODE == as ]]; then return; fi # refused
  warn "the role that owned '$SOURCE' is not on this server: everything will belong to postgres"
}

read_owner() {
  sed -n 's/^-- Name: .*; Type: DATABASE; Schema: -; Owner: //p' "$WORK/statements" | sed 's/; Tablespace: .*//;q'
}

# KIND...: those that the server does not have, for people.
find_missing() {
  local kind names=''
  for kind in "$@"; do names+=$(sed -n "s/^$kind //p" "$WORK/roles")$'\n'; done
  query postgres "select string_agg(quote_ident(name), ', ' order by name)
    from (select distinct name from unnest(string_to_array($(quote_literal "$names"), E'\n')) as name) as named
    where name <> '' and name not in (select rolname from pg_roles);"
}

# Lines of the dump that name roles and tablespaces: WORK/statements.
read_statements() {
  "${AS_ACCOUNT[@]}" pg_restore --create --schema-only --file=- -- "$DUMP" |
    awk -v wanted='^(-- Name: |GRANT |ALTER (DEFAULT|ROLE) |CREATE (DATABASE|POLICY|USER MAPPING) )' \
      -f "${BASH_SOURCE[0]%/*}/literals.awk" -f "${BASH_SOURCE[0]%/*}/statements.awk" >"$WORK/statements"
}

# owner NAME, grant NAME or other NAME (of policies and user mappings), one a line. What concerns the database itself
# counts where it is created.
list_roles() {
  local name=$NAME_PATTERN type='' line names
  while IFS= read -r line; do
    if [[ $line =~ ^--\ Name:\ (.*)\;\ Type:\ ([A-Z ]+)\;\ Schema:\ (.*)\;\ Owner:\ (.*)$ ]]; then
      type=${BASH_REMATCH[2]} names=${BASH_REMATCH[4]%%; Tablespace: *}
      if ((!CREATES)) && [[ $type == DATABASE* || ${BASH_REMATCH[3]} == - && ${BASH_REMATCH[1]} == 'DATABASE '* ]]; then
        type=''
      elif [[ $type == 'DEFAULT ACL' ]]; then printf 'grant %s\n' "$names"; elif [[ $names != - ]]; then printf 'owner %s\n' "$names"; fi
    elif [[ $type == 'DATABASE PROPERTIES' && $line =~ ^ALTER\ ROLE\ ($name)\ IN\ DATABASE\  ]]; then
      printf 'grant %s\n' "$(unquote_names "${BASH_REMATCH[1]}")"
    elif [[ $type == *ACL && $line =~ ^(GRANT|ALTER\ DEFAULT\ PRIVILEGES)\ .*\ TO\ ($name)(\ WITH\ GRANT\ OPTION)?\;$ ]]; then
      printf 'grant %s\n' "$(unquote_names "${BASH_REMATCH[2]}")"
    elif [[ $type == POLICY && $line =~ ^CREATE\ POLICY\ $name\ ON\ $name(\.$name)?(\ AS\ [A-Z]+)?(\ FOR\ [A-Z]+)?\ TO\ ($name(,\ $name)*) ]]; then
      while IFS= read -r names; do printf 'other %s\n' "$names"; done < <(unquote_names "${BASH_REMATCH[10]}")
    elif [[ $type == 'USER MAPPING' && $line =~ ^CREATE\ USER\ MAPPING\ FOR\ ($name)\ SERVER ]]; then
      printf 'other %s\n' "$(unquote_names "${BASH_REMATCH[1]}")"
    fi
  done <"$WORK/statements" |
    grep -vE '^[a-z]+ (PUBLIC)?$' | sort -u
}

# The names of a list in SQL, one a line.
unquote_names() { grep -oE "$NAME_PATTERN" <<<"$1" | unquote_lines; }

unquote_lines() { sed -e 's/^"\(.*\)"$/\1/' -e 's/""/"/g'; }
