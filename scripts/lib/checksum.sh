# shellcheck shell=bash
# A checksum of a table's rows that depends on nothing else: not on the order of rows or columns, not on the server's
# version, locale or time zone. SQL text only, run like that of facts.sh.
#
# Of each row, the text of its values in the order of the columns' names is hashed (MD5); the checksum is the MD5 of
# the number of rows and the sums of both halves of those hashes. So two tables agree only if they hold the same rows,
# each as many times. Chance collisions do not happen; against somebody who makes them on purpose it is no proof.

# TABLE...: {"schema.table": checksum} of those that are there, a partitioned one with its partitions.
print_checksums() {
  local table wanted=''
  for table in "$@"; do wanted+=${wanted:+, }$(quote_literal "$table"); done
  if [[ -z $wanted ]]; then return; fi
  cat <<SQL
select format('select json_build_object(%L, md5(concat_ws('' '', count(*), sum((''x'' || left(hash, 16))::bit(64)::bigint::numeric), '
  'sum((''x'' || right(hash, 16))::bit(64)::bigint::numeric)))) from (select md5(row(%s)::text) as hash from %s %I.%I) as hashed',
  name, (select string_agg(quote_ident(attname), ', ' order by attname collate "C") from pg_attribute
    where attrelid = oid and attnum > 0 and not attisdropped), case relkind when 'r' then 'only' end, nspname, relname)
from ($SQL_RELATIONS) as relations where relkind in ('r', 'p') and name = any (array[$wanted]) order by name \gexec
SQL
}
