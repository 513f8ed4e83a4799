# Sorts the statements that define a database, from `pg_restore --create`, and gives the database another name. After
# literals.awk and collect.awk.
#
#   base          beginning of the names of the files written: create, settings, properties, grants, unknown
#   name          pattern of a name in SQL
#   placeless     1: without its tablespace
#   WORKING, FINAL (environment)    what the database is called while it is filled, and afterwards, quoted

# Replaces the name after a beginning; whether the statement has that beginning.
function rename(beginning, to, end) {
  if (!match(statement, "^" beginning)) return 0
  end = RLENGTH
  if (!match(substr(statement, end + 1), "^" name)) return 0
  statement = substr(statement, 1, end) to substr(statement, end + 1 + RLENGTH)
  return 1
}

function put(file) { printf "%s\n", statement > (base file) }

function take() {
  if (rename("CREATE DATABASE ", ENVIRON["WORKING"])) {
    if (placeless) sub(" TABLESPACE = " name ";$", ";", statement)
    sub(/;$/, "", statement)
    put("create")
  } else if (statement ~ "^ALTER DATABASE " name " SET " && statement !~ "^ALTER DATABASE " name " SET \"?default_transaction_read_only") {
    rename("ALTER DATABASE ", ENVIRON["WORKING"])
    put("settings")
  } else if (rename("(ALTER|COMMENT ON|SECURITY LABEL FOR " name " ON) DATABASE ", ENVIRON["FINAL"])) {
    put("properties")
  } else if (rename("ALTER ROLE " name " IN DATABASE ", ENVIRON["FINAL"]) ||
    rename("(GRANT|REVOKE) [A-Z, ]+ ON DATABASE ", ENVIRON["FINAL"]) || statement ~ /^(SET|RESET) SESSION AUTHORIZATION/) {
    put("grants")
  } else if (statement !~ /^(SET |SELECT pg_catalog\.set_config\()/) {
    put("unknown")
  }
}
