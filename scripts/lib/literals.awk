# For awk programs that read SQL as pg_restore writes it.

# Whether a text or a name in quotes is open at the end of this line, which is the next one.
function is_open(line, i, char) {
  if (open == "" && line !~ /['"$]/) return 0
  for (i = 1; i <= length(line); i++) {
    char = substr(line, i, 1)
    if (open == "" && char == "$" && match(substr(line, i), /^\$([^0-9 $'"(),;][^ $'"(),;]*)?\$/)) open = substr(line, i, RLENGTH)
    else if (open == "" && (char == "'" || char == "\"")) open = char
    else if (open != "" && substr(line, i, length(open)) == open) {
      i += length(open) - 1
      open = ""
      continue
    } else continue
    i += length(open) - 1
  }
  return open != ""
}
