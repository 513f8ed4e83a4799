# shellcheck shell=bash
# What is true of a database's content at one moment: rows per table, newest records, orphans per foreign key. SQL text
# only, run in one snapshot by the backup (into the manifest) and by verification (against it). Every printed statement
# answers JSON objects, one a line.

# What many statements have in common.

# A name, given as expression @, quoted unless it is plain; unlike quote_ident it does not depend on the server version's
# list of keywords.
readonly SQL_NAME="case when @ ~ '^[a-z_][a-z0-9_]*\$' then @::text else '\"' || replace(@, '\"', '\"\"') || '\"' end"

# The condition that an object, a row of the catalogue with alias @, belongs to no extension.
readonly SQL_NO_MEMBER="not exists (select from pg_catalog.pg_depend d where d.classid = @.tableoid and d.objid = @.oid and d.deptype = 'e')"

# The name of a relation with its schema's.
readonly SQL_RELATION_NAME="${SQL_NAME//@/n.nspname} || '.' || ${SQL_NAME//@/c.relname}"

# Relations of the application: none of the system's, of other sessions' temporary ones, of extensions'.
readonly SQL_RELATIONS="select c.oid, c.relkind, c.relispopulated, n.nspname, c.relname, ${SQL_NAME//@/n.nspname} as schema,
  $SQL_RELATION_NAME as name
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relpersistence <> 't' and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and ${SQL_NO_MEMBER//@/c}"

# Tables whose rows a dump holds.
readonly SQL_TABLES="select nspname, relname, name, '' as condition from ($SQL_RELATIONS) as relations where relkind = 'r'"

# Tables of extensions whose rows a dump holds, too: registered with pg_extension_config_dump, some only with a condition.
readonly SQL_REGISTERED="select n.nspname, c.relname, $SQL_RELATION_NAME as name, registered.condition
from pg_catalog.pg_extension x cross join lateral unnest(x.extconfig, x.extcondition) as registered (oid, condition)
join pg_catalog.pg_class c on c.oid = registered.oid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r'"

# Takes the lock that pg_dump takes, so that no TRUNCATE can slip between a count and the dump.
print_table_locks() {
  cat <<SQL
select format('lock table only %I.%I in access share mode', nspname, relname)
from ($SQL_TABLES union all $SQL_REGISTERED) as tables order by 1 \gexec
SQL
}

# The tables whose rows are counted in this database, one a line; none: all of them.
list_count_tables() { list_tables_of "$1" "${COUNT_TABLES[@]}"; }

# DATABASE ENTRY...: of 'schema.table' and 'database|schema.table', the tables that concern it, one a line.
list_tables_of() {
  local database=$1 entry other
  shift
  for entry in "$@"; do
    for other in "${DATABASES[@]}"; do
      if [[ $entry == "$other|"* ]]; then
        if [[ $other == "$database" ]]; then printf '%s\n' "${entry#"$other|"}"; fi
        continue 2
      fi
    done
    printf '%s\n' "$entry"
  done
}

# NAME DATABASE: the SQL condition that the table of this name is one that COUNT_TABLES names for this database.
is_counted() {
  local table wanted=''
  while IFS= read -r table; do wanted+=${wanted:+, }$(quote_literal "$table"); done < <(list_count_tables "$2")
  if [[ -n $wanted ]]; then printf '%s = any (array[%s])' "$1" "$wanted"; else printf true; fi
}

# {"schema.table": rows}, of the tables that COUNT_TABLES names for this database.
print_table_counts() { print_counts "$1" "$SQL_TABLES"; }

print_registered_counts() { print_counts "$1" "$SQL_REGISTERED"; }

# DATABASE TABLES: whoever counts locks the indexes, too; those locks are let go now and then, because a server has not
# enough for those of thousands of tables.
print_counts() {
  cat <<SQL
savepoint counts;
select format('select json_build_object(%L, count(*)) from only %I.%I %s', name, nspname, relname, condition),
  case when row_number() over (order by name) % 100 = 0 then 'rollback to savepoint counts' end
from ($2) as tables where $(is_counted name "$1") order by name \gexec
rollback to savepoint counts;
release savepoint counts;
SQL
}

# {role, login, tables, reads}: the role that an application uses the database as, its owner or, where that one only owns,
# one that logs in and has its privileges; how many tables there are, and one that it may read. Nothing if a superuser
# owns the database.
print_application() {
  cat <<SQL
with application as (
  select role.rolname, role.rolcanlogin
  from pg_catalog.pg_database join pg_catalog.pg_roles owner on owner.oid = datdba
  join pg_catalog.pg_roles role on role.oid = owner.oid or (not owner.rolcanlogin and role.rolcanlogin and not role.rolsuper
    and role.rolname <> $(quote_literal "$BACKUP_ROLE") and pg_has_role(role.oid, owner.oid, 'usage'))
  where datname = current_database() and not owner.rolsuper order by role.rolcanlogin desc, role.rolname limit 1
)
select json_build_object('role', rolname, 'login', rolcanlogin, 'tables', count(relname), 'reads',
  min(format('%I.%I', nspname, relname)) filter (where has_schema_privilege(rolname, nspname, 'usage') and has_table_privilege(rolname, oid, 'select')))
from application left join ($SQL_RELATIONS) as relations on relkind in ('r', 'p')
  and not (select relispartition from pg_catalog.pg_class where pg_class.oid = relations.oid)
group by rolname, rolcanlogin;
SQL
}

# The newest ten rows of the tables configured for this database: {table, column, columns, rows, latest, md5, newest}.
# A table or column that is not there answers nothing. $2 'with rows' puts the rows themselves into it.
print_newest_records() {
  local database=$1 rows=${2:-} entry rest table column columns show='' record=''
  if [[ -n $rows ]]; then
    show=", ''newest'', coalesce(json_agg(record order by place), ''[]'')"
    # shellcheck disable=SC2016 # %4$s is format's
    record='json_build_array(%4$s) as record, '
  fi
  for entry in "${NEWEST_RECORDS[@]}"; do
    columns=${entry##*|} rest=${entry%|*}
    column=${rest##*|} rest=${rest%|*}
    table=${rest##*|}
    if [[ ${rest%|*} != "$database" ]]; then continue; fi
    cat <<SQL
select format(
  'select json_build_object(''table'', %1\$L, ''column'', %2\$L, ''columns'', %3\$L::json, ''rows'', count(*), '
  '''latest'', max(newest_time)::text, ''md5'', md5(coalesce(string_agg(line, E''\n'' order by place), ''''))'
  '$show) from ('
  'select row(%4\$s)::text as line, $record%5\$I as newest_time, '
  'row_number() over (order by %5\$I desc, row(%4\$s)::text collate pg_catalog."C" desc) as place '
  'from %6\$s where %5\$I is not null order by place limit 10) as newest',
  wanted_table, wanted_column, to_json(wanted_columns), (select string_agg(quote_ident(c), ', ' order by position)
    from unnest(wanted_columns) with ordinality as w (c, position)), wanted_column, to_regclass(wanted_table)::text)
from (select $(quote_literal "$table"), $(quote_literal "$column"), string_to_array($(quote_literal "$columns"), ','))
  as wanted (wanted_table, wanted_column, wanted_columns)
where not exists (select from unnest(wanted_columns || wanted_column) as c
  where not exists (select from pg_catalog.pg_attribute a where a.attrelid = to_regclass(wanted_table)
    and a.attname = c and a.attnum > 0 and not a.attisdropped)) \gexec
SQL
  done
}

# Every foreign key: {constraint, table, references, validated, orphans}. MATCH SIMPLE: a row with any null refers to
# nothing. MATCH FULL: only a row with all nulls does, one with some is an orphan. A partitioned table is checked as a
# whole; other tables without their children, as PostgreSQL enforces it. Compared with the key's own operators.
# With 'unproved' only those that are NOT VALID or not enforced, which may rightly have orphans.
print_foreign_keys() {
  local wanted=${1:+and not k.convalidated}
  cat <<SQL
select format('select json_build_object(''constraint'', %L, ''table'', %L, ''references'', %L, ''validated'', %L::boolean, '
  '''orphans'', count(*)) from %s %I.%I as child where (%s) and not exists (select from %s %I.%I as parent where %s)%s',
  constraint_name, child_name, parent_name, validated, child_only, child_schema, child_table, has_reference,
  parent_only, parent_schema, parent_table, matches, half_null)
from (
  select k.conname as constraint_name, k.convalidated as validated,
    cn.nspname as child_schema, c.relname as child_table, pn.nspname as parent_schema, p.relname as parent_table,
    ${SQL_NAME//@/cn.nspname} || '.' || ${SQL_NAME//@/c.relname} as child_name,
    ${SQL_NAME//@/pn.nspname} || '.' || ${SQL_NAME//@/p.relname} as parent_name,
    case c.relkind when 'p' then '' else 'only' end as child_only,
    case p.relkind when 'p' then '' else 'only' end as parent_only,
    string_agg(format('child.%I is not null', ca.attname), case k.confmatchtype when 'f' then ' or ' else ' and ' end)
      as has_reference,
    string_agg(format('parent.%I operator(%I.%s) child.%I%s', pa.attname, o.nspname, o.oprname, ca.attname,
      case when pa.attcollation <> ca.attcollation and ca.attcollation <> 0
        then format(' collate %I.%I', l.nspname, l.collname) else '' end), ' and ') as matches,
    '' as half_null
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_namespace cn on cn.oid = c.relnamespace
  join pg_catalog.pg_class p on p.oid = k.confrelid join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
  cross join lateral unnest(k.conkey, k.confkey, k.conpfeqop) as pair (child_column, parent_column, operator)
  join pg_catalog.pg_attribute ca on ca.attrelid = c.oid and ca.attnum = pair.child_column
  join pg_catalog.pg_attribute pa on pa.attrelid = p.oid and pa.attnum = pair.parent_column
  join (select x.oid, x.oprname, y.nspname from pg_catalog.pg_operator x
    join pg_catalog.pg_namespace y on y.oid = x.oprnamespace) o on o.oid = pair.operator
  left join (select x.oid, x.collname, y.nspname from pg_catalog.pg_collation x
    join pg_catalog.pg_namespace y on y.oid = x.collnamespace) l on l.oid = pa.attcollation
  where k.contype = 'f' and k.conparentid = 0 $wanted
  group by k.oid, k.conname, k.convalidated, k.confmatchtype, cn.nspname, c.relname, c.relkind, pn.nspname, p.relname,
    p.relkind
) as keys order by child_name, constraint_name \gexec
SQL
}
