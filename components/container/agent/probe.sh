# What the program asks before it declares anything. Reads only. Texts travel as base64, one fact a line.

report() { # WORD… TEXT
  printf '%s %s\n' "${*:1:$#-1}" "$(printf '%s' "${!#}" | base64 -w0)"
}

report_receipts() {
  local receipt line arguments
  for receipt in "$receipts"/*; do
    [[ -f $receipt && $receipt != *.partial ]] || continue
    arguments=()
    while read -r line; do arguments+=("$(printf '%s' "${line#argument }" | base64 -d)"); done < <(grep '^argument ' "$receipt")
    if declare -F "observe_${arguments[0]:-}" >/dev/null; then
      report receipt "$(base64 -w0 <"$receipt")" "$(observe "${arguments[@]}" 2>&1 || true)"
    fi
  done
}

check_calendar() { # KEY EXPRESSION
  local answer
  answer=$(systemd-analyze calendar -- "$2" 2>&1) || report problem "$1" "$(head -n 1 <<<"$answer")"
}

check_time_span() { # KEY SPAN
  local answer
  answer=$(systemd-analyze timespan -- "$2" 2>&1) || report problem "$1" "$(head -n 1 <<<"$answer")"
}

# One that is not there is no problem: it is to be restored, into a container that was made anew.
check_databases() { # DATABASE…
  local answer database
  if ! answer=$(list_databases 2>&1); then
    report problem postgresql "$answer"
    return
  fi
  for database in "$@"; do
    if [[ -n ${schemas[":$database"]:-} ]] && grep -qxF -- "$database" <<<"$answer"; then
      check_schemas "$database" "${schemas[":$database"]}" "${owners[":$database"]:-}"
    fi
  done
  report databases "$answer"
  report version "$(as_postgres postgres -c 'SHOW server_version_num' </dev/null)"
  if [[ $(as_postgres postgres -c 'SHOW is_superuser' </dev/null) != on ]]; then report problem superuser ''; fi
}

# Schemas and roles that the settings name and that are not there, and schemas whose tables a dump would read that they do
# not name. As pg_dump, this passes over what belongs to extensions, unless they registered it for dumps.
check_schemas() { # DATABASE SCHEMAS OWNERS, one a line
  local answer key text
  answer=$(
    as_postgres "$1" -v schemas="$2" -v owners="$3" <<'SQL'
WITH named (name) AS (SELECT unnest(string_to_array(:'schemas', E'\n'))),
owners (name) AS (SELECT unnest(string_to_array(:'owners', E'\n'))),
dumped (name) AS (
  SELECT DISTINCT n.nspname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    LEFT JOIN pg_extension x ON x.oid = d.refobjid
   WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
     AND (d.objid IS NULL OR c.oid = ANY (x.extconfig))
)
SELECT format('grantSchemas database "%s" has no schema "%s". It has: %s', current_database(), name,
         (SELECT string_agg(nspname, ', ' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'))
  FROM named WHERE name NOT IN (SELECT nspname FROM pg_namespace) AND name <> ''
UNION ALL
SELECT format('grantSchemas does not name schema "%s" of database "%s", which holds tables: without them there is no dump',
         name, current_database()) FROM dumped WHERE name NOT IN (SELECT name FROM named)
UNION ALL
SELECT format('grantOwners there is no role "%s"', name)
  FROM owners WHERE name NOT IN (SELECT rolname FROM pg_roles) AND name <> '';
SQL
  )
  while read -r key text; do [[ -z $key ]] || report problem "$key" "$text"; done <<<"$answer"
}

# Whether units may be given a file system view of their own, which systemd's sandboxing is made of. A Proxmox
# container without nesting=1 may not. Tried as systemd begins it, with a detached copy of all mounts (`slave`), in a
# mount namespace that ends with the command.
check_sandbox() {
  if unshare --mount --propagation slave sh -c 'mount -t tmpfs none /mnt' 2>/dev/null; then echo 'sandbox full'; else echo 'sandbox basic'; fi
}

probe() { # CALENDAR DRILL-CALENDAR JITTER TIME-LIMIT, then as read_grants has it; an empty calendar is none
  local -a databases
  local -A schemas=() owners=()
  # shellcheck disable=SC2034 # read_grants fills all of them
  local options=''
  read_grants "${@:5}"
  check_calendar schedule "$1"
  [[ -z $2 ]] || check_calendar drillSchedule "$2"
  check_time_span jitter "$3"
  check_time_span timeLimit "$4"
  check_databases "${databases[@]}"
  check_sandbox
  report_receipts
  echo complete
}
