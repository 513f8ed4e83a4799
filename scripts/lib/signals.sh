# shellcheck shell=bash
# What a process does when it is told to stop: its end, to its end, however often it is told. And its children with it.

# Systemd tells every process, and so does whoever started this one; people press Ctrl-C twice. The second time must not
# cut the end short. One that is on its way at that moment is none any more; bash complains of it, to nobody.
be_deaf() {
  {
    trap '' INT TERM HUP
    :
  } 2>/dev/null
}

# A process that others wait for: ends through what it has for EXIT, which begins with be_deaf. One in the background does
# not hear Ctrl-C: whoever waits for it does, and tells it.
end_when_told() { trap 'be_deaf; exit 143' TERM HUP; }

# Children to be stopped if this process ends early.
RUNNING=()

stop_running() {
  local pid
  for pid in "${RUNNING[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${RUNNING[@]}"; do wait "$pid" 2>/dev/null || true; done
  RUNNING=()
}

# PID: waits for a child, and has its status. It is none to be stopped any more: its number may be another's by now.
await() {
  local child=$1 status=0 pid others=()
  wait "$child" || status=$?
  for pid in "${RUNNING[@]}"; do
    if ((pid != child)); then others+=("$pid"); fi
  done
  RUNNING=("${others[@]}")
  return "$status"
}
