# Of SQL, whole statements, which may go over lines: calls take() for each, which is in `statement`. Comments and psql's own
# commands between them are left out. After literals.awk; take() is whoever's who wants them.
statement == "" && /^(--|\\|$)/ { next }
{
  statement = statement (statement == "" ? "" : "\n") $0
  if (!is_open($0) && /;$/) {
    take()
    statement = ""
  }
}
