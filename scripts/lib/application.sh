# shellcheck shell=bash
# Whether the application can use what was restored: its role, the database's owner, logs in and reads a table.

prove_application() {
  local database=$1 owner table how
  owner=$(query "$database" "select pg_get_userbyid(datdba) from pg_database where datname = current_database()
    and not (select rolsuper from pg_roles where oid = datdba);")
  if [[ -z $owner ]]; then
    warn "'$database' belongs to a superuser: there is no application's role to log in as"
    return
  fi
  table=$(print_readable "$owner" | run_sql "$database")
  if [[ -z $table ]]; then
    fail "restored, but role '$owner', which owns '$database', may read no table of it: see \\dp, and grants in the dump"
  fi
  if [[ $table == - ]]; then return; fi # none in there
  if id -u -- "$owner" >/dev/null 2>&1 && read_as_account "$owner" "$database" "$table"; then
    how='logged in (peer)'
  elif read_as_session "$owner" "$database" "$table"; then
    how="read as set session authorization, because there is no peer login of that name,"
  else
    fail "restored, but role '$owner' cannot read $table of '$database': $(<"$WORK/application.err")"
  fi
  say "role '$owner' $how and read $table"
}

# A table that the role may read, nothing if there is none such, - if there is no table.
print_readable() {
  local role
  role=$(quote_literal "$1")
  cat <<SQL
select case when count(*) = 0 then '-' else min(name) filter (where readable) end from (
  select format('%I.%I', nspname, relname) as name, has_schema_privilege($role, n.oid, 'usage')
    and has_table_privilege($role, c.oid, 'select') as readable
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where relkind = 'r' and relpersistence <> 't' and nspname <> 'information_schema' and nspname !~ '^pg_') as tables;
SQL
}

read_as_account() {
  # shellcheck disable=SC2034 # read by postgres.sh
  local AS_ACCOUNT=(runuser -u "$1" --)
  query "$2" "select count(*) from (select from $3 limit 1) as one;" >/dev/null 2>"$WORK/application.err"
}

# What a login would check besides is asked for: whether the role may log in, and connect to this database.
read_as_session() {
  query "$2" "do \$\$ begin if not has_database_privilege($(quote_literal "$1"), current_database(), 'connect') then
    raise 'it may not connect to the database'; end if; end \$\$;
    set session authorization $(quote_name "$1");
    select count(*) from (select from $3 limit 1) as one;" >/dev/null 2>"$WORK/application.err"
}
