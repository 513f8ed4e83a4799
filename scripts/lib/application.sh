# shellcheck shell=bash
# Whether the application can use what was restored: the role that it logs in as reads a table.

# DATABASE MANIFEST, the latter empty if there is none.
prove_application() {
  local database=$1 manifest=$2 about role table how='' why='there is no peer login of that name'
  about=$(query "$database" "$(print_application)")
  if [[ -z $about ]]; then
    warn "'$database' belongs to a superuser: there is no application's role to log in as"
    return
  fi
  if [[ $(jq .tables <<<"$about") == 0 ]]; then return; fi
  role=$(jq -r .role <<<"$about")
  table=$(jq -r '.reads // ""' <<<"$about")
  if [[ -z $table ]]; then
    if [[ -n $manifest ]] && jq -e '.application != null and .application.reads == null' -- "$manifest" >/dev/null; then
      warn "role '$role', whose database '$database' is, may read no table of it; nor could it in the source, by the manifest"
      return
    fi
    fail "restored, but role '$role', whose database '$database' is, may read no table of it: see \\dp, and grants in the dump"
  fi
  if [[ $(jq .login <<<"$about") == false ]]; then
    why='neither it nor a member of it may log in'
  elif read_as_account "$role" "$database" "$table"; then
    how='logged in (peer)'
  fi
  if [[ -z $how ]]; then
    if ! read_as_session "$role" "$database" "$table"; then
      fail "restored, but role '$role' cannot read $table of '$database': $(<"$WORK/application.err")"
    fi
    how="read as set session authorization, because $why,"
  fi
  say "role '$role' $how and read $table"
}

# By an operating-system account of that name, which only root can take on.
read_as_account() {
  if ((EUID != 0)) || ! id -u -- "$1" >/dev/null 2>&1; then return 1; fi
  # shellcheck disable=SC2034 # read by postgres.sh
  local AS_ACCOUNT=(runuser -u "$1" --)
  run_sql "$2" <<<"select count(*) from (select from $3 limit 1) as one;" >/dev/null 2>"$WORK/application.err"
}

# What a login would check besides is asked for: whether the role may log in, and connect to this database.
read_as_session() {
  run_sql "$2" <<<"do \$\$ begin if not has_database_privilege($(quote_literal "$1"), current_database(), 'connect') then
    raise 'it may not connect to the database'; end if; end \$\$;
    set session authorization $(quote_name "$1");
    select count(*) from (select from $3 limit 1) as one;" >/dev/null 2>"$WORK/application.err"
}
