# Chooses entries from `pg_restore --list --verbose`: tables and what belongs to them.
#
#   wanted  file of "schema table" lines
#   whole   1: also what they depend on (types, functions, schemas, extensions), for a database that has none of it
#   keys    written: foreign keys between these tables and others
#   chosen  written: "schema table" of every table chosen, partitions included
# Prints the chosen entries in their order, or one line that says what is wrong, with exit status 1.

function type_of(text, i) {
  for (i = 1; i <= kinds; i++) if (index(text, kind[i] " ") == 1) return kind[i]
  return "other"
}

# Whether all tables that an entry depends on are chosen, and one of them or of their entries is.
function follows(id, i, n, list, some) {
  n = split(needs[id], list, " ")
  for (i = 1; i <= n; i++) {
    if (type[list[i]] == "TABLE" && !(list[i] in take)) return 0
    if (list[i] in take) some = 1
  }
  return some
}

# Whether the entry is of a chosen table: it is named in it, and depended on.
function is_of_table(id, i, n, list) {
  n = split(needs[id], list, " ")
  for (i = 1; i <= n; i++)
    if (list[i] in name && list[i] in take && index(text[id], type[id] " " name[list[i]] " ") == 1) return 1
  return 0
}

function belongs(id) {
  if (type[id] ~ /^(TABLE DATA|DEFAULT|CONSTRAINT|TRIGGER|RULE|POLICY|ROW SECURITY)$/) return is_of_table(id)
  if (type[id] ~ /^(INDEX|INDEX ATTACH|TABLE ATTACH|STATISTICS|SEQUENCE|SEQUENCE OWNED BY|SEQUENCE SET|COMMENT|ACL|SECURITY LABEL|FK CONSTRAINT)$/)
    return follows(id)
  return 0
}

function touches(id, i, n, list) {
  n = split(needs[id], list, " ")
  for (i = 1; i <= n; i++) if (list[i] in name && list[i] in take) return 1
  return 0
}

# "schema table owner": the owner is most likely the parent's, else the last word.
function without_owner(words, owner) {
  if (substr(words, length(words) - length(owner)) == " " owner) return substr(words, 1, length(words) - length(owner) - 1)
  sub(/ [^ ]*$/, "", words)
  return words
}

function stop(message) {
  print message
  failed = 1
  exit 1
}

BEGIN {
  kinds = split("TABLE DATA|TABLE ATTACH|TABLE|DEFAULT ACL|DEFAULT|FK CONSTRAINT|CONSTRAINT|TRIGGER|RULE|POLICY|ROW SECURITY|" \
    "INDEX ATTACH|INDEX|STATISTICS|SEQUENCE OWNED BY|SEQUENCE SET|SEQUENCE|COMMENT|ACL|SECURITY LABEL|VIEW|MATERIALIZED VIEW", kind, "|")
}

/^[0-9]+; / {
  id = $1 + 0
  order[++entries] = id
  line[id] = $0
  text[id] = $0
  sub(/^[0-9]+; [0-9]+ [0-9]+ /, "", text[id])
  type[id] = type_of(text[id])
}
/^;\tdepends on:/ { needs[id] = substr($0, index($0, ":") + 1) }

END {
  if (failed) exit 1
  while ((getline table < wanted) > 0) {
    found = 0
    for (i = 1; i <= entries; i++) {
      id = order[i]
      if (type[id] == "TABLE" && index(text[id], "TABLE " table " ") == 1) { found++; take[id] = 1; name[id] = table; owner[id] = substr(text[id], length("TABLE " table " ") + 1) }
    }
    if (found != 1) stop("'" table "' is " (found ? "the beginning of several tables' names: restore the whole database beside it" : "no table of this dump"))
  }
  do {
    grown = 0
    for (i = 1; i <= entries; i++) {
      id = order[i]
      if (type[id] == "TABLE ATTACH" && split(needs[id], pair, " ") == 2 && pair[2] in take && !(pair[1] in take)) {
        take[pair[1]] = grown = 1
        name[pair[1]] = without_owner(substr(text[id], length("TABLE ATTACH ") + 1), owner[pair[2]])
        owner[pair[1]] = owner[pair[2]]
      }
      if (!(id in take) && belongs(id)) take[id] = grown = 1
    }
  } while (grown)
  while (whole && !complete) {
    complete = 1
    for (id in take) {
      n = split(needs[id], list, " ")
      for (i = 1; i <= n; i++)
        if (list[i] in line && !(list[i] in take) && type[list[i]] !~ /^(TABLE|VIEW|MATERIALIZED VIEW)$/) {
          take[list[i]] = 1
          complete = 0
        }
    }
  }
  printf "" > keys
  printf "" > chosen
  for (i = 1; i <= entries; i++) {
    id = order[i]
    if (id in take) print line[id]
    else if (type[id] == "FK CONSTRAINT" && touches(id)) print line[id] > keys
    if (id in name) print name[id] > chosen
  }
}
