export interface ServiceUnitArgs {
  readonly description: string;
  /** Account and group the job runs as. */
  readonly account: string;
  readonly command: string;
  /** Directories the job writes to. */
  readonly writable: readonly string[];
  /**
   * `full`: with a file system view of its own. `basic`: without what a container that may not mount refuses (it would
   * fail every start with 226/NAMESPACE).
   */
  readonly sandbox: "full" | "basic";
}

/**
 * Options that systemd enforces by system call filters and capabilities: they work in every container. A forbidden call
 * is refused rather than the end of its program, because every Go program, age for one, begins with one (prlimit64).
 */
const BASIC = `NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
MemoryDenyWriteExecute=yes
UMask=0027`;

/** Options that give the job a file system view of its own. */
function fullSandbox(writable: readonly string[]): string {
  return `ProtectSystem=strict
ReadWritePaths=${writable.join(" ")}
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes`;
}

/** Renders the service that runs one backup. It is started by its timer, or by hand. */
export function renderServiceUnit({ description, account, command, writable, sandbox }: ServiceUnitArgs): string {
  return `# Managed by pulumi up (pgbackup).
[Unit]
Description=${description}
After=postgresql.service network-online.target
Wants=network-online.target

[Service]
Type=oneshot
User=${account}
Group=${account}
ExecStart=${command}
TimeoutStartSec=12h
Nice=10
IOSchedulingClass=idle

${BASIC}
${sandbox === "full" ? fullSandbox(writable) : "# This container may not mount (nesting=1 is off): no file system view of its own."}
`;
}

export interface TimerUnitArgs {
  readonly description: string;
  /** Calendar expression with its time zone. */
  readonly calendar: string;
  /** Time span. */
  readonly jitter: string;
}

/** Renders the timer of a service of the same name. It makes up for a run missed while the container was down. */
export function renderTimerUnit({ description, calendar, jitter }: TimerUnitArgs): string {
  return `# Managed by pulumi up (pgbackup).
[Unit]
Description=${description}

[Timer]
OnCalendar=${calendar}
Persistent=true
AccuracySec=1s
RandomizedDelaySec=${jitter}

[Install]
WantedBy=timers.target
`;
}
