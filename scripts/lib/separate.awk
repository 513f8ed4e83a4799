# Prints whole statements, each ended by a NUL. After literals.awk and collect.awk.
function take() { printf "%s%c", statement, 0 }
