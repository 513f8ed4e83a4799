# shellcheck shell=bash
# On a bare server: the roles that a dump refers to, from the globals of its night. They have no passwords there. Roles
# that exist are left as they are.

# Whether the globals have what the server lacks. Leaves the statements in WORK/roles.sql.
check_globals() {
  local missing
  if [[ -z $GLOBALS_FILE ]]; then find_globals; fi
  if [[ -z $GLOBALS_FILE ]]; then
    fail "--globals: no verified globals_<time>.sql in $BACKUP_DIRECTORY: put it there with its .json, or create the roles by hand"
  fi
  check_content "$GLOBALS_FILE"
  query postgres 'select quote_ident(rolname) from pg_roles;' >"$WORK/roles.there"
  {
    cut -d ' ' -f 2- "$WORK/roles"
    read_owner
  } | quote_names | sort -u >"$WORK/roles.wanted"
  add_memberships "$GLOBALS_FILE"
  print_role_statements "$GLOBALS_FILE" >"$WORK/roles.sql"
  missing=$(grep -vxFf "$WORK/roles.there" "$WORK/roles.wanted" |
    grep -vxFf <(sed -n 's/^CREATE ROLE \(.*\);$/\1/p' "$WORK/roles.sql") | paste -sd ' ') || true
  if [[ -n $missing ]]; then fail "--globals: neither this server nor $GLOBALS_FILE has the roles $missing: create them first"; fi
}

# What a missing role is a member of is wanted, too.
add_memberships() {
  local statement grown=1
  while ((grown)); do
    grown=0
    while IFS= read -r -d '' statement; do
      if [[ $statement =~ ^GRANT\ ($NAME_PATTERN)\ TO\ ($NAME_PATTERN)[\ \;] ]] && is_missing_role "${BASH_REMATCH[4]}" &&
        ! grep -qxF -- "${BASH_REMATCH[1]}" "$WORK/roles.wanted"; then
        printf '%s\n' "${BASH_REMATCH[1]}" >>"$WORK/roles.wanted"
        grown=1
      fi
    done < <(print_statements "$1")
  done
}

print_role_statements() {
  local statement
  while IFS= read -r -d '' statement; do
    if [[ $statement =~ ^(CREATE|ALTER)\ ROLE\ ($NAME_PATTERN)[\ \;] ]] && is_missing_role "${BASH_REMATCH[2]}"; then
      printf '%s\n' "$statement"
    elif [[ $statement =~ ^GRANT\ $NAME_PATTERN\ TO\ ($NAME_PATTERN)[\ \;] ]] && is_missing_role "${BASH_REMATCH[3]}"; then
      statement=${statement%% GRANTED BY *} # the grantor may be missing here; the superuser is not
      printf '%s;\n' "${statement%;}"
    fi
  done < <(print_statements "$1")
}

is_missing_role() { grep -qxF -- "$1" "$WORK/roles.wanted" && ! grep -qxF -- "$1" "$WORK/roles.there"; }

# Names, one a line, as PostgreSQL quotes them.
quote_names() {
  query postgres "select quote_ident(name) from unnest(string_to_array($(quote_literal "$(cat)"), E'\n')) as name where name <> '';"
}

create_roles() {
  if ((!WITH_GLOBALS)) || [[ ! -s $WORK/roles.sql ]]; then return 0; fi
  if ! perform_statements "$WORK/roles.sql"; then
    fail "the roles cannot be created: none was, nothing was restored"
  fi
  tell "created, without passwords: $(sed -n 's/^CREATE ROLE \(.*\);$/\1/p' "$WORK/roles.sql" | paste -sd ' ')." \
    "Who logs in with one needs a new one: \\password <role> in psql"
}
