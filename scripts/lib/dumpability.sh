# shellcheck shell=bash
# What of a database a dump by this role would not hold. Errors, all at once, where rows would be lost or pg_dump would
# stop; warnings for what pg_dump leaves out by design, which an operator should know before they need it.

# DATABASE: begins to examine it, beside other checks. Needs WORK.
begin_dumpability() {
  exec {FINDINGS}< <(ask_dumpability "$1" 2>"$WORK/findings.err")
  FINDINGS_PID=$!
  RUNNING+=("$FINDINGS_PID")
}

# A process of its own; what goes wrong is told by whoever waits for it.
ask_dumpability() {
  trap - ERR
  print_dumpability | run_sql "$1"
}

# Sets DUMPABILITY, the warnings as a JSON array, for the manifest. Needs begin_dumpability.
check_dumpability() {
  local database=$1 found errors
  found=$(cat <&"$FINDINGS")
  exec {FINDINGS}<&-
  await "$FINDINGS_PID" || fail "database '$database' cannot be examined: $(<"$WORK/findings.err")"
  errors=$(jq -rs 'map(select(.level == "error") | .text) | join("; ")' <<<"$found")
  if [[ -n $errors ]]; then fail "role $BACKUP_ROLE cannot dump all of it: $errors"; fi
  # shellcheck disable=SC2034 # goes into the manifest
  DUMPABILITY=$(jq -cs 'map(.text)' <<<"$found")
}

print_dumpability() {
  print_session_settings
  print_findings_of_dump
}

# Each query answers at most one {level, text}; names are those of facts.sh, all of them up to 50.
print_findings_of_dump() {
  print_finding error 'it may not use these schemas (pulumi up; with grants "schemas", they have to be among grantSchemas)' \
    "select distinct ${SQL_NAME//@/nspname} as name from ($SQL_DUMPED) as d where not has_schema_privilege(schema_oid, 'usage')"
  print_finding error 'it may not read these tables and sequences (pulumi up)' \
    "select name from ($SQL_DUMPED) as d where not has_table_privilege(oid, 'select')"
  print_finding error 'tables under row-level security, which it cannot bypass (setting bypassRls)' \
    "select name from ($SQL_DUMPED) as d where relkind <> 'S' and row_security_active(oid)"
  print_finding error 'large objects that it may not read (setting largeObjects)' "$SQL_CLOSED_LARGE_OBJECTS"
  print_finding warning 'subscriptions are left out, only a superuser dumps them' \
    "select subname as name from pg_catalog.pg_subscription where current_setting('is_superuser') = 'off'
     and subdbid = (select oid from pg_catalog.pg_database where datname = current_database())"
  print_finding warning 'foreign servers whose user mappings are dumped without their options (remote user, password)' \
    'select distinct srvname as name from pg_catalog.pg_user_mappings where umoptions is null'
  print_finding warning 'foreign tables are dumped without rows, which are on their servers' \
    "select name from ($SQL_RELATIONS) as r where relkind = 'f'"
  print_finding warning 'tables of extensions hold rows that are left out, as their extensions want it' \
    "select $SQL_RELATION_NAME as name from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
     join pg_catalog.pg_extension x on x.oid = d.refobjid
     where c.relkind = 'r' and pg_relation_size(c.oid) > 0 and c.oid <> all (coalesce(x.extconfig, '{}'))"
  print_finding warning 'unlogged tables are dumped, but a crash of the server empties them' \
    "select name from ($SQL_DUMPED) as d where relpersistence = 'u' and relkind = 'r'"
}

# LEVEL TEXT QUERY(name)
print_finding() {
  printf '%s\n' "select json_build_object('level', '$1', 'text', concat('$2: ',
  string_agg(name, ', ' order by name) filter (where place <= 50),
  case when count(*) > 50 then format(' and %s more', count(*) - 50) end))
from (select name, row_number() over (order by name) as place from ($3) as found) as numbered having count(*) > 0;"
}

# What pg_dump reads: tables, those that extensions registered for it included, and sequences.
readonly SQL_DUMPED="select c.oid, c.relkind, c.relpersistence, n.nspname, n.oid as schema_oid, $SQL_RELATION_NAME as name
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
left join pg_catalog.pg_extension x on x.oid = d.refobjid
where c.relkind in ('r', 'p', 'S') and c.relpersistence <> 't' and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
  and (d.objid is null or c.oid = any (x.extconfig))"

# There is no has_largeobject_privilege before PostgreSQL 18.
readonly SQL_CLOSED_LARGE_OBJECTS="select oid::text as name from pg_catalog.pg_largeobject_metadata
where current_setting('is_superuser') = 'off' and current_setting('lo_compat_privileges') = 'off'
  and not pg_has_role(lomowner, 'usage')
  and not exists (select from aclexplode(lomacl) as a
    where a.privilege_type = 'SELECT' and (a.grantee = 0 or pg_has_role(a.grantee, 'usage')))"
