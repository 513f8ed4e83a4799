# From `pg_restore --list --verbose`, the entries in an order in which pg_restore --clean can drop them: the key of a
# partition before that of its table, on which it depends. Prints nothing if that is their order already.

/^[0-9]+; / {
  id = $1 + 0
  order[++entries] = id
  line[id] = $0
  is_key[id] = ($4 == "CONSTRAINT")
}
/^;\tdepends on:/ && is_key[id] { needs[id] = substr($0, index($0, ":") + 1) }

function put(id, i, n, list) {
  if (id in placed) return
  placed[id] = 1
  n = split(parts[id], list, " ")
  for (i = 1; i <= n; i++) put(list[i])
  sorted[++places] = id
}

END {
  for (id in needs) {
    n = split(needs[id], list, " ")
    for (i = 1; i <= n; i++) if (is_key[list[i]]) parts[list[i]] = parts[list[i]] " " id
  }
  for (i = 1; i <= entries; i++) put(order[i])
  for (i = 1; i <= entries; i++) if (sorted[i] != order[i]) differs = 1
  for (i = 1; differs && i <= entries; i++) print line[sorted[i]]
}
