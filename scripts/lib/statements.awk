# Of SQL as pg_restore writes it, the lines that begin with a pattern, where that is no part of a text. After literals.awk.
#
#   wanted    the pattern
open == "" && $0 ~ wanted { print }
open != "" || !/^--/ { is_open($0) }
