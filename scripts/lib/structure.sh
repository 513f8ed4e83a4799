# shellcheck shell=bash
# Which things a database has besides rows, and in which state: tables, views, sequences, indexes, constraints, triggers,
# extensions. SQL text only, run like that of facts.sh. Every printed statement answers {kind: {name: state}}.
#
#   table, partitioned table, foreign table, view    there
#   materialized view                                populated | not populated
#   sequence     ahead | behind (its next number collides with rows of the column that owns it) | there (owned by none,
#                or cycling) | not read
#   index        valid | invalid (what a failed CREATE INDEX CONCURRENTLY leaves, or not yet built on each partition)
#   constraint   valid | not valid | not enforced | disabled (its own triggers are)
#   trigger, event trigger    enabled | always | replica only | disabled
#   extension    its version
#
# Left out: what belongs to extensions, and what PostgreSQL clones for partitions under names of its own choice.

# DATABASE: the settings' name of it. With 'every sequence', columns are read too that have no index and are of tables
# that are not counted: too large to be read whole every night, but not when it is to be proved.
print_structure() {
  print_states
  print_sequence_states "$@"
}

readonly SQL_DOMAINS="select t.oid, ${SQL_NAME//@/n.nspname} || '.' || ${SQL_NAME//@/t.typname} as name
from pg_type t join pg_namespace n on n.oid = t.typnamespace
where t.typtype = 'd' and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and ${SQL_NO_MEMBER//@/t}"

# @ stands for the column.
readonly SQL_TRIGGER_STATE="case @ when 'O' then 'enabled' when 'A' then 'always' when 'R' then 'replica only' else 'disabled' end"

print_states() {
  cat <<SQL
with recursive own as ($SQL_RELATIONS),
family (root, oid) as (
  select oid, oid from pg_constraint where conparentid = 0
  union all select family.root, k.oid from pg_constraint k join family on k.conparentid = family.oid
),
silenced as (
  select distinct family.root as oid from family join pg_trigger t on t.tgconstraint = family.oid
  where t.tgisinternal and t.tgenabled in ('D', 'R')
),
things (kind, name, state) as (
  select case relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'f' then 'foreign table'
    when 'v' then 'view' else 'materialized view' end, name,
    case when relkind <> 'm' then 'there' when relispopulated then 'populated' else 'not populated' end
  from own where relkind in ('r', 'p', 'f', 'v', 'm')
  union all
  select 'index', own.schema || '.' || ${SQL_NAME//@/c.relname},
    case when i.indisvalid and i.indisready and i.indislive then 'valid' else 'invalid' end
  from own join pg_index i on i.indrelid = own.oid join pg_class c on c.oid = i.indexrelid
  union all
  select 'constraint', coalesce(own.name, domains.name) || ' ' || ${SQL_NAME//@/k.conname},
    case when to_jsonb(k) @> '{"conenforced": false}' then 'not enforced' when not k.convalidated then 'not valid'
      when silenced.oid is not null then 'disabled' else 'valid' end
  from pg_constraint k left join own on own.oid = k.conrelid left join silenced on silenced.oid = k.oid
    left join ($SQL_DOMAINS) as domains on domains.oid = k.contypid
  where k.contype in ('c', 'f', 'p', 'u', 'x') and k.conparentid = 0 and coalesce(own.oid, domains.oid) is not null
  union all
  select 'trigger', own.name || ' ' || ${SQL_NAME//@/t.tgname}, ${SQL_TRIGGER_STATE//@/t.tgenabled}
  from own join pg_trigger t on t.tgrelid = own.oid where not t.tgisinternal and t.tgparentid = 0
  union all
  select 'event trigger', ${SQL_NAME//@/e.evtname}, ${SQL_TRIGGER_STATE//@/e.evtenabled}
  from pg_event_trigger e where ${SQL_NO_MEMBER//@/e}
  union all
  select 'extension', ${SQL_NAME//@/extname}, extversion from pg_extension
)
select json_build_object(kind,
  coalesce(json_object_agg(name, state order by name collate "C") filter (where name is not null), '{}'::json))
from unnest(array['table', 'partitioned table', 'foreign table', 'view', 'materialized view', 'sequence', 'index',
  'constraint', 'trigger', 'event trigger', 'extension']) as kinds (kind) left join things using (kind)
group by kind order by kind;
SQL
}

# A sequence belongs to a column as serial ('a') or identity ('i'). What is inherited or partitioned takes its numbers
# from the parent's, so rows of all children count.
print_sequence_states() {
  local counted='true'
  if [[ -z ${2:-} ]]; then counted=$(is_counted own.name "$1"); fi
  cat <<SQL
with own as ($SQL_RELATIONS)
select case when column_name is null then format('select json_build_object(''sequence'', json_build_object(%L, ''there''))', name)
  when not readable then format('select json_build_object(''sequence'', json_build_object(%L, ''not read''))', name)
  else format('select json_build_object(''sequence'', json_build_object(%L, case when outermost is null or '
    'case when is_called then last_value %s= outermost else last_value %s outermost end then ''ahead'' else ''behind'' end)) '
    'from %I.%I, (select %s(%I) as outermost from %I.%I) as used', name, way, way, nspname, relname,
    case way when '>' then 'max' else 'min' end, column_name, table_schema, table_name) end
from (
  select sequence.name, sequence.nspname, sequence.relname, owner.*, case when s.seqincrement > 0 then '>' else '<' end as way
  from own as sequence join pg_sequence s on s.seqrelid = sequence.oid
  left join lateral (
    select own.nspname as table_schema, own.relname as table_name, a.attname as column_name,
      $counted or exists (select from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
        where i.indrelid = own.oid and i.indkey[0] = a.attnum and i.indisvalid and i.indpred is null
          and m.amname = 'btree') as readable
    from pg_depend d join own on own.oid = d.refobjid and own.relkind in ('r', 'p')
    join pg_attribute a on a.attrelid = own.oid and a.attnum = d.refobjsubid join pg_type t on t.oid = a.atttypid
    where d.classid = 'pg_class'::regclass and d.objid = sequence.oid and d.deptype in ('a', 'i') and not s.seqcycle
      and coalesce(nullif(t.typbasetype, 0), t.oid) = any ('{int2,int4,int8,numeric}'::regtype[])
  ) as owner on true
) as sequences order by name \gexec
SQL
}
