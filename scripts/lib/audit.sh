# shellcheck shell=bash
# What the role can and cannot do, told by the role itself: whether its dump would be complete, and whether it can do more
# than dump. Reads only.

# shellcheck disable=SC2034 # backup.sh's help names them
readonly AUDIT_INCOMPLETE=4 AUDIT_EXCESS=8

audit_role() {
  local database findings lacks=0 excess=0
  NIGHT=$(mktemp -d) # removed by backup.sh
  audit_cluster
  for database in "${DATABASES[@]}"; do
    if ! findings=$(print_database_audit | run_sql "$database" 2>"$NIGHT/audit.err"); then
      printf "\nDatabase '%s'\n  CANNOT DUMP: %s\n" "$database" "$(<"$NIGHT/audit.err")"
      lacks=$AUDIT_INCOMPLETE
      continue
    fi
    tell_findings "$database" "$findings"
    if [[ $findings == *'"level" : "error"'* ]]; then lacks=$AUDIT_INCOMPLETE; fi
    if [[ $findings == *'"level" : "excess"'* ]]; then excess=$AUDIT_EXCESS; fi
  done
  printf '\nThe dump would be %s. The role can do %s.\n' \
    "$(if ((lacks)); then echo INCOMPLETE, or fail; else echo complete; fi)" \
    "$(if ((excess)); then echo MORE than it should; else echo nothing but read; fi)"
  exit "$((lacks + excess))"
}

# By the first database that lets the role in; why one does not is told with it.
audit_cluster() {
  local database
  for database in "${DATABASES[@]}"; do
    if print_cluster_audit | run_sql "$database" 2>/dev/null; then return; fi
  done
}

tell_findings() {
  printf "\nDatabase '%s'\n" "$1"
  jq -r '({reads: "reads", error: "CANNOT DUMP", warning: "left out", excess: "CAN DO MORE", set: "as it is set", note: "as everybody"}
    [.level]) as $title | "  \($title): \(.text)"' <<<"$2"
}

# Attributes, settings and memberships, as plain lines.
print_cluster_audit() {
  print_session_settings
  cat <<'SQL'
select 'Role ' || rolname || E'\n  attributes: ' || concat_ws(', ', case when rolcanlogin then 'login' end,
    case when rolsuper then 'SUPERUSER' end, case when rolcreatedb then 'CREATEDB' end,
    case when rolcreaterole then 'CREATEROLE' end, case when rolreplication then 'REPLICATION' end,
    case when rolbypassrls then 'BYPASSRLS' end)
  || ', connections ' || case rolconnlimit when -1 then 'unlimited' else 'at most ' || rolconnlimit end
  || E'\n  settings: ' || coalesce(array_to_string(rolconfig, ', '), 'none')
  || E'\n  member of: ' || coalesce((select string_agg(g.rolname, ', ' order by g.rolname) from pg_catalog.pg_roles g
    where g.rolname <> r.rolname and pg_has_role(g.oid, 'member')), 'no role')
from pg_catalog.pg_roles r where rolname = current_user;
SQL
}

# Each query answers at most one {level, text}.
print_database_audit() {
  print_session_settings
  print_readable
  print_findings_of_dump
  print_excess_of_cluster
  print_excess_of_database
  if [[ $LARGE_OBJECTS == yes ]]; then
    print_finding set 'it may change, unless its transaction is read-only' "select 'large objects' as name"
  fi
  print_finding note 'it may make, by privileges that PUBLIC has, unless its transaction is read-only' \
    "select 'temporary tables' as name where has_database_privilege(current_database(), 'temp')
     union all select 'large objects' where has_function_privilege('pg_catalog.lo_create(oid)', 'execute')"
}

print_readable() {
  cat <<SQL
select json_build_object('level', 'reads', 'text', format('%s of %s tables, %s of %s sequences, %s of %s schemas, %s of %s large objects',
  count(*) filter (where relkind <> 'S' and readable), count(*) filter (where relkind <> 'S'),
  count(*) filter (where relkind = 'S' and readable), count(*) filter (where relkind = 'S'),
  count(distinct schema_oid) filter (where usable), count(distinct schema_oid),
  (select count(*) from pg_catalog.pg_largeobject_metadata) - (select count(*) from ($SQL_CLOSED_LARGE_OBJECTS) as closed),
  (select count(*) from pg_catalog.pg_largeobject_metadata)))
from (select relkind, schema_oid, has_schema_privilege(schema_oid, 'usage') as usable,
    has_schema_privilege(schema_oid, 'usage') and has_table_privilege(oid, 'select')
      and (relkind = 'S' or not row_security_active(oid)) as readable
  from ($SQL_DUMPED) as d) as seen;
SQL
}

print_excess_of_cluster() {
  print_finding excess 'it has attributes that reading does not need (alter role ... no...)' \
    "select name from pg_catalog.pg_roles, lateral (values (rolsuper, 'superuser'), (rolcreatedb, 'createdb'),
       (rolcreaterole, 'createrole'), (rolreplication, 'replication'),
       (rolbypassrls and '$BYPASS_RLS' <> 'yes', 'bypassrls')) as a (held, name)
     where rolname = current_user and held"
  print_finding excess 'it is a member of roles that reading does not need (revoke)' \
    "select rolname::text as name from pg_catalog.pg_roles
     where rolname <> current_user and (rolname <> 'pg_read_all_data' or '$GRANTS' <> 'all') and pg_has_role(oid, 'member')"
  print_finding excess 'roles may become it (revoke)' \
    "select r.rolname::text as name from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.member
     join pg_catalog.pg_roles g on g.oid = m.roleid where g.rolname = current_user and r.rolname <> 'postgres'"
  print_finding excess 'its settings let it write, or connect without limit (pulumi up)' \
    "select 'default_transaction_read_only is not on' as name from pg_catalog.pg_settings
     where name = 'default_transaction_read_only' and reset_val <> 'on'
     union all select 'lo_compat_privileges is on, for large objects' where current_setting('lo_compat_privileges') = 'on' and '$LARGE_OBJECTS' <> 'yes'
     union all select 'no connection limit' from pg_catalog.pg_roles where rolname = current_user and rolconnlimit < 0"
}

print_excess_of_database() {
  print_finding excess 'it owns objects (alter ... owner to)' \
    "select coalesce(pg_describe_object(classid, objid, objsubid), 'object ' || objid) as name from pg_catalog.pg_shdepend
     where refclassid = 'pg_catalog.pg_authid'::regclass and refobjid = current_user::regrole and deptype = 'o'
       and dbid in (0, (select oid from pg_catalog.pg_database where datname = current_database()))"
  print_finding excess 'it may make objects in (revoke create, from public too)' \
    "select 'schema ' || ${SQL_NAME//@/nspname} as name from pg_catalog.pg_namespace
     where nspname !~ '^pg_' and nspname <> 'information_schema' and has_schema_privilege(oid, 'create')
     union all select 'the database' where has_database_privilege(current_database(), 'create')"
  print_finding excess 'it may write to these tables, views and sequences (revoke)' \
    "select $SQL_RELATION_NAME as name
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and has_schema_privilege(n.oid, 'usage') and case
       when c.relkind = 'S' then has_sequence_privilege(c.oid, 'usage, update')
       when c.relkind in ('r', 'p', 'v', 'm', 'f') then has_table_privilege(c.oid, 'insert, update, delete, truncate, trigger')
         or has_any_column_privilege(c.oid, 'insert, update') end"
  print_finding excess "it may call these functions, which write with the rights of their owner (revoke execute, from public too)" \
    "select p.oid::regprocedure::text as name from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where p.prosecdef and p.provolatile = 'v' and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
       and n.nspname !~ '^pg_' and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')"
  print_finding excess 'it may call these functions of the server (revoke execute)' \
    "select p.oid::regprocedure::text as name from pg_catalog.pg_proc p
     where p.pronamespace = 'pg_catalog'::regnamespace and has_function_privilege(p.oid, 'execute') and p.proname in
       ('lo_import', 'lo_export', 'pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file', 'pg_reload_conf',
        'pg_rotate_logfile', 'pg_promote', 'pg_switch_wal', 'pg_create_restore_point')"
}
