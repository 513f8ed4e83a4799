# audit COMMAND ARGUMENT…: what a command finds, told when it is applied. Findings are no failure, and no state of the
# container: nothing is observed.

observe_audit() { :; }

apply_audit() { # CONTENT-FILE COMMAND ARGUMENT…
  "${@:2}" || printf '%s: status %s\n' "${*:2}" "$?"
  expect_state audit "${@:2}" </dev/null
}

remove_audit() { :; }
