# role NAME CONNECTION-LIMIT, then as read_grants has it: a PostgreSQL role; the SQL that makes it so is the content

# Takes away every privilege in these databases, and on what all databases share: databases, tablespaces, parameters.
# The caller has made sure that the role owns nothing, so that DROP OWNED drops nothing.
revoke_privileges() { # NAME; databases on stdin, one a line
  local database
  while IFS= read -r database; do
    if [[ -n $database ]]; then as_postgres "$database" -v role="$1" <<<'DROP OWNED BY :"role";'; fi
  done
}

# Databases in which the role has anything, besides those named.
list_other_databases() { # NAME DATABASE…
  local existing database
  existing=$(list_databases)
  while IFS= read -r database; do
    if ! printf '%s\n' "${@:2}" | grep -qxF -- "$database" && [[ -n $(observe_role_in_database "$1" "$database") ]]; then
      printf '%s\n' "$database"
    fi
  done <<<"$existing"
}

# The line of pg_hba.conf, or of a file that it includes, that decides how the role logs in over the local socket.
deciding_line() { # NAME DATABASE
  as_postgres postgres -v role="$1" -v database="$2" <<'SQL'
SELECT coalesce(
  (SELECT format('What decides is line %s of %s: %s', line_number, coalesce(to_jsonb(rule) ->> 'file_name', current_setting('hba_file')),
                 concat_ws(' ', type, array_to_string(database, ','), array_to_string(user_name, ','), auth_method))
     FROM pg_hba_file_rules AS rule,
          (SELECT array_agg(rolname::text) FROM pg_roles WHERE pg_has_role(:'role', oid, 'member')) AS member (groups)
    WHERE type = 'local'
      AND EXISTS (SELECT FROM unnest(database) AS entry WHERE entry IN ('all', :'database')
            OR entry = 'sameuser' AND :'database' = :'role'
            OR entry IN ('samerole', 'samegroup') AND :'database' = ANY (groups)
            OR entry ~ '^/' AND :'database' ~ substr(entry, 2))
      AND EXISTS (SELECT FROM unnest(user_name) AS entry WHERE entry IN ('all', :'role')
            OR entry ~ '^[+]' AND substr(entry, 2) = ANY (groups)
            OR entry ~ '^/' AND :'role' ~ substr(entry, 2))
    ORDER BY (to_jsonb(rule) ->> 'rule_number')::int, line_number LIMIT 1),
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

# The facts of a role as it should be. The caller has read its arguments.
print_wanted_role() { # CONNECTION-LIMIT
  local database
  printf 'attributes login%s\n' "$(if [[ $options == *--bypassrls* ]]; then echo ' bypassrls'; fi)"
  printf 'connection limit %s\npassword none\nsetting default_transaction_read_only=on\n' "$1"
  if [[ $options == *--large-objects* ]]; then echo 'setting lo_compat_privileges=on'; fi
  if ((!${#schemas[@]})); then echo 'member of pg_read_all_data'; fi
  for database in "${databases[@]}"; do printf 'CONNECT on database %s\n' "$database"; done | sort
  printf '%s\n' "${databases[@]}" | sort | while IFS= read -r database; do print_wanted_grants "$database" | sort; done
}

print_wanted_grants() { # DATABASE
  local schema owner kind where
  while IFS= read -r schema; do
    where="schema $schema in database $1"
    if [[ -n $schema ]]; then printf 'USAGE on %s\n' "$where"; fi
    while IFS= read -r owner; do
      for kind in relations sequences; do
        if [[ -n $schema && -n $owner ]]; then
          printf 'SELECT on default privileges on new %s belonging to role %s in %s\n' "$kind" "$owner" "$where"
        fi
      done
    done <<<"${owners[":$1"]:-}"
  done <<<"${schemas[":$1"]:-}"
}

apply_role() { # CONTENT-FILE NAME CONNECTION-LIMIT …
  local content=$1 name=$2 limit=$3 others database
  local -a databases
  local -A schemas=() owners=()
  local options=''
  read_grants "${@:4}"
  if [[ $(observe_role "${@:2}") != missing ]]; then
    refuse_owner "${@:2}"
    others=$(list_other_databases "$name" "${databases[@]}")
    revoke_privileges "$name" <<<"$others"
  fi
  as_postgres postgres -f - <"$content" >/dev/null
  print_wanted_role "$limit" | expect_state role "${@:2}"
  for database in "${databases[@]}"; do expect_login "$name" "$database"; done
}

remove_role() { # NAME …
  local name=$1 others
  [[ $(observe_role "$@") != missing ]] || return 0
  refuse_owner "$@"
  others=$(list_other_databases "$name" postgres)
  revoke_privileges "$name" <<<"postgres"$'\n'"$others"
  as_postgres postgres -v role="$name" <<<'DROP ROLE :"role";'
}
