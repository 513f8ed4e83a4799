# What is seen of a PostgreSQL role: one fact a line, privileges on everything named, so that nothing stray is overlooked.

# What psql says besides the answer is told if it fails. A server may warn whoever logs in, whatever the session's settings,
# e.g. of collations that are not those its database was made with; that is no fact of a role.
as_postgres() { # DATABASE, then options of psql
  local said status=0
  {
    said=$(cd / && PGDATABASE=$1 PGCLIENTENCODING=UTF8 PGOPTIONS='-c client_min_messages=warning -c lc_messages=C' \
      runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 "${@:2}" 2>&1 >&3 3>&-) || status=$?
  } 3>&1
  if ((status)); then printf '%s\n' "$said" >&2; fi
  return "$status"
}

# What a role is to have, as a kind's arguments say it:
#   [--bypassrls] [--large-objects] [--schema DATABASE SCHEMA]… [--owner DATABASE ROLE]… -- DATABASE…
# Fills the caller's databases, options, schemas and owners; the last two by `:DATABASE`, one name a line. Without any
# schema, the role reads all there is.
read_grants() {
  while (($#)); do
    case $1 in
      --bypassrls | --large-objects) options+="$1 " ;;
      --schema)
        schemas[":$2"]+=$3$'\n'
        shift 2
        ;;
      --owner)
        owners[":$2"]+=$3$'\n'
        shift 2
        ;;
      --)
        shift
        break
        ;;
      *) break ;; # an older receipt has nothing but databases
    esac
    shift
  done
  databases=("$@")
}

list_databases() {
  as_postgres postgres -c 'SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname COLLATE "C"' </dev/null
}

# Attributes, settings, memberships both ways, and privileges on what all databases share.
observe_role_in_cluster() { # NAME
  as_postgres postgres -v role="$1" <<'SQL'
SELECT concat_ws(' ', 'attributes', CASE WHEN rolcanlogin THEN 'login' ELSE 'nologin' END,
         CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolcreatedb THEN 'createdb' END,
         CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolreplication THEN 'replication' END,
         CASE WHEN rolbypassrls THEN 'bypassrls' END, CASE WHEN NOT rolinherit THEN 'noinherit' END)
       || E'\nconnection limit ' || rolconnlimit
       || E'\npassword ' || CASE WHEN rolpassword IS NULL THEN 'none' ELSE 'set' END
       || CASE WHEN coalesce(rolvaliduntil, 'infinity') <> 'infinity' THEN E'\nvalid until ' || rolvaliduntil ELSE '' END
  FROM pg_authid WHERE rolname = :'role';
SELECT 'setting ' || setting || coalesce(' in database ' || d.datname, '')
  FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase,
       unnest(s.setconfig) AS setting
 WHERE r.rolname = :'role' ORDER BY 1;
-- A membership may be without its privileges since PostgreSQL 16, and several may have granted the same.
SELECT DISTINCT 'member of ' || g.rolname || CASE WHEN m.admin_option THEN ' with admin option' ELSE '' END
       || CASE WHEN to_jsonb(m) @> '{"inherit_option": false}' THEN ' without its privileges' ELSE '' END
  FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
 WHERE r.rolname = :'role' ORDER BY 1;
SELECT DISTINCT 'has the member ' || r.rolname
  FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
 WHERE g.rolname = :'role' ORDER BY 1;
SELECT a.privilege_type || ' on database ' || d.datname || CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END
  FROM pg_database d, aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee
 WHERE r.rolname = :'role' ORDER BY d.datname COLLATE "C", 1;
SELECT CASE s.deptype WHEN 'o' THEN 'owner of ' WHEN 'r' THEN 'named in the policy ' ELSE 'privileges on ' END
       || coalesce(nullif(pg_describe_object(s.classid, s.objid, s.objsubid), ''), s.classid::regclass || ' ' || s.objid)
  FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
 WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = :'role' AND s.dbid = 0
   AND NOT (s.classid = 'pg_database'::regclass AND s.deptype = 'a') ORDER BY 1;
SQL
}

# Everything in one database that names the role: what it owns, and every privilege it was given. In the schemas that it
# may read, SELECT on tables, views and sequences is as it should be: there, those count on which it has none. Of many
# that are alike, the first are enough for people.
observe_role_in_database() { # NAME DATABASE [SCHEMAS, one a line]
  as_postgres "$2" -v role="$1" -v schemas="${3:-}" <<'SQL'
WITH readable AS (
  SELECT oid FROM pg_namespace WHERE nspname = ANY (string_to_array(:'schemas', E'\n'))
), granted AS (
  SELECT classid, objid, objsubid, string_agg(privilege_type || CASE WHEN is_grantable THEN ' with grant option' ELSE '' END, ', '
           ORDER BY privilege_type, is_grantable) AS privileges
    FROM (SELECT 'pg_class'::regclass AS classid, c.oid AS objid, 0 AS objsubid, a.* FROM pg_class c, aclexplode(c.relacl) a
          UNION ALL
          SELECT 'pg_class'::regclass, t.attrelid, t.attnum, a.* FROM pg_attribute t, aclexplode(t.attacl) a
          UNION ALL
          SELECT 'pg_namespace'::regclass, n.oid, 0, a.* FROM pg_namespace n, aclexplode(n.nspacl) a
          UNION ALL
          SELECT 'pg_proc'::regclass, p.oid, 0, a.* FROM pg_proc p, aclexplode(p.proacl) a
          UNION ALL
          SELECT 'pg_default_acl'::regclass, d.oid, 0, a.* FROM pg_default_acl d, aclexplode(d.defaclacl) a) AS entries
    JOIN pg_roles r ON r.oid = grantee
   WHERE r.rolname = :'role' GROUP BY classid, objid, objsubid
), facts (alike, fact) AS (
  SELECT CASE WHEN s.deptype = 'a' AND s.classid = 'pg_class'::regclass THEN 'privileges' END,
         CASE s.deptype WHEN 'o' THEN 'owner of ' WHEN 'r' THEN 'named in the policy '
           ELSE coalesce(g.privileges, 'privileges') || ' on ' END || pg_describe_object(s.classid, s.objid, s.objsubid)
    FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
    LEFT JOIN granted g ON (g.classid, g.objid, g.objsubid) = (s.classid, s.objid, s.objsubid) AND s.deptype = 'a'
    LEFT JOIN pg_class c ON s.classid = 'pg_class'::regclass AND c.oid = s.objid AND s.objsubid = 0
   WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = :'role'
     AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND (g.privileges = 'SELECT' AND c.relnamespace IN (SELECT oid FROM readable)) IS NOT TRUE
  UNION ALL
  SELECT 'unreadable', 'may not read ' || pg_describe_object('pg_class'::regclass, c.oid, 0) || ' of role ' || o.rolname
    FROM pg_class c JOIN readable ON readable.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
     AND c.oid NOT IN (SELECT objid FROM granted WHERE classid = 'pg_class'::regclass AND objsubid = 0 AND privileges ~ 'SELECT')
), numbered AS (
  SELECT *, row_number() OVER (PARTITION BY alike ORDER BY fact COLLATE "C") AS place, count(*) OVER (PARTITION BY alike) AS total
    FROM facts
)
SELECT CASE WHEN alike IS NULL OR place <= 20 THEN fact ELSE format('and %s more like these', total - 20) END
       || ' in database ' || current_database()
  FROM numbered WHERE alike IS NULL OR place <= 21
 ORDER BY alike NULLS FIRST, place > 20, (fact || ' in database ' || current_database()) COLLATE "C";
SQL
}

observe_role() { # NAME CONNECTION-LIMIT, then as read_grants has it
  local name=$1 found existing database
  local -a databases
  local -A schemas=() owners=()
  # shellcheck disable=SC2034 # read_grants fills all of them
  local options=''
  read_grants "${@:3}"
  found=$(observe_role_in_cluster "$name")
  [[ -n $found ]] || {
    echo missing
    return
  }
  printf '%s\n' "$found"
  existing=$(list_databases)
  while IFS= read -r database; do observe_role_in_database "$name" "$database" "${schemas[":$database"]:-}"; done <<<"$existing"
}
