# role NAME CONNECTION-LIMIT DATABASE…: a PostgreSQL role; the SQL that makes it so is the content

as_postgres() { # DATABASE, then options of psql
  (cd / && PGDATABASE=$1 PGOPTIONS='-c client_min_messages=warning' runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 "${@:2}")
}

# Attributes, settings, memberships both ways, and privileges on what all databases share.
observe_role_in_cluster() {
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
SELECT 'member of ' || g.rolname || CASE WHEN m.admin_option THEN ' with admin option' ELSE '' END
  FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
 WHERE r.rolname = :'role' ORDER BY 1;
SELECT 'has the member ' || r.rolname
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

# Everything in one database that names the role: what it owns, and every privilege it was given.
observe_role_in_database() { # NAME DATABASE
  as_postgres "$2" -v role="$1" <<'SQL'
WITH privileges AS (
  SELECT 'pg_class'::regclass AS classid, c.oid AS objid, 0 AS objsubid, a.* FROM pg_class c, aclexplode(c.relacl) a
  UNION ALL
  SELECT 'pg_class'::regclass, t.attrelid, t.attnum, a.* FROM pg_attribute t, aclexplode(t.attacl) a
  UNION ALL
  SELECT 'pg_namespace'::regclass, n.oid, 0, a.* FROM pg_namespace n, aclexplode(n.nspacl) a
  UNION ALL
  SELECT 'pg_proc'::regclass, p.oid, 0, a.* FROM pg_proc p, aclexplode(p.proacl) a
  UNION ALL
  SELECT 'pg_default_acl'::regclass, d.oid, 0, a.* FROM pg_default_acl d, aclexplode(d.defaclacl) a
), held AS (
  SELECT s.deptype, pg_describe_object(s.classid, s.objid, s.objsubid) AS object,
         (SELECT string_agg(p.privilege_type, ', ' ORDER BY p.privilege_type) FROM privileges p
           WHERE p.grantee = s.refobjid AND p.classid = s.classid AND p.objid = s.objid AND p.objsubid = s.objsubid) AS names
    FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
   WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = :'role'
     AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT CASE deptype WHEN 'o' THEN 'owner of ' WHEN 'r' THEN 'named in the policy ' ELSE coalesce(names, 'privileges') || ' on ' END
       || object || ' in database ' || current_database()
  FROM held ORDER BY 1;
SQL
}

list_databases() {
  as_postgres postgres -c 'SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname COLLATE "C"' </dev/null
}

observe_role() { # NAME CONNECTION-LIMIT DATABASE…
  local name=$1 found databases database
  found=$(observe_role_in_cluster "$name")
  [[ -n $found ]] || {
    echo missing
    return
  }
  printf '%s\n' "$found"
  databases=$(list_databases)
  while IFS= read -r database; do observe_role_in_database "$name" "$database"; done <<<"$databases"
}

# Takes away every privilege inside the databases, and on tablespaces, parameters and the like. The caller has made sure
# that the role owns nothing, so that DROP OWNED drops nothing.
revoke_privileges() { # NAME
  local name=$1 databases database
  databases=$(list_databases)
  while IFS= read -r database; do
    if [[ $database == postgres || -n $(observe_role_in_database "$name" "$database") ]]; then
      as_postgres "$database" -v role="$name" <<<'DROP OWNED BY :"role";'
    fi
  done <<<"$databases"
}

# The line of pg_hba.conf that decides how the role logs in to a database over the local socket.
deciding_line() { # NAME DATABASE
  as_postgres postgres -v role="$1" -v database="$2" <<'SQL'
SELECT coalesce(
  (SELECT format('What decides is line %s of %s: %s', line_number, current_setting('hba_file'),
                 concat_ws(' ', type, array_to_string(database, ','), array_to_string(user_name, ','), auth_method))
     FROM pg_hba_file_rules,
          (SELECT array_agg(rolname::text) FROM pg_roles WHERE pg_has_role(:'role', oid, 'member')) AS member (groups)
    WHERE type = 'local'
      AND EXISTS (SELECT FROM unnest(database) AS entry WHERE entry IN ('all', :'database')
            OR entry = 'sameuser' AND :'database' = :'role'
            OR entry IN ('samerole', 'samegroup') AND :'database' = ANY (groups)
            OR entry ~ '^/' AND :'database' ~ substr(entry, 2))
      AND EXISTS (SELECT FROM unnest(user_name) AS entry WHERE entry IN ('all', :'role')
            OR entry ~ '^[+]' AND substr(entry, 2) = ANY (groups)
            OR entry ~ '^/' AND :'role' ~ substr(entry, 2))
    ORDER BY line_number LIMIT 1),
  'There is no line for it in ' || current_setting('hba_file'));
SQL
}

expect_login() { # NAME DATABASE
  local name=$1 database=$2 answer
  if ! answer=$(cd / && PGDATABASE=$database runuser -u "$name" -- psql -XAtqw -c 'SELECT 1' 2>&1); then
    fail "role $name cannot log in to database $database from the account of that name: $answer
$(deciding_line "$name" "$database"). Put this line before it, or first, and reload PostgreSQL:
local all $name peer"
  fi
}

# Dropping what the role owns would lose data, and leaving it would let the role write.
refuse_owner() { # NAME …
  local owned
  owned=$(observe_role "$@" | grep '^owner of ' || true)
  [[ -z $owned ]] || fail "role $1 is to be read-only but owns objects; give them to another role (ALTER … OWNER TO):
$owned"
}

apply_role() { # CONTENT-FILE NAME CONNECTION-LIMIT DATABASE…
  local content=$1 name=$2 limit=$3 database
  if [[ $(observe_role "${@:2}") != missing ]]; then
    refuse_owner "${@:2}"
    revoke_privileges "$name"
  fi
  as_postgres postgres -f - <"$content" >/dev/null
  {
    printf 'attributes login\nconnection limit %s\npassword none\n' "$limit"
    printf 'setting default_transaction_read_only=on\nmember of pg_read_all_data\n'
    for database in "${@:4}"; do printf 'CONNECT on database %s\n' "$database"; done | sort
  } | expect_state role "${@:2}"
  for database in "${@:4}"; do expect_login "$name" "$database"; done
}

remove_role() { # NAME …
  local name=$1
  [[ $(observe_role "$@") != missing ]] || return 0
  refuse_owner "$@"
  revoke_privileges "$name"
  as_postgres postgres -v role="$name" <<<'DROP ROLE :"role";'
}
