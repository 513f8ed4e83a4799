# shellcheck shell=bash
# What a process does when it is told to stop: its end, to its end, however often it is told.

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
