import { renderSandbox, type SandboxArgs } from "./sandbox";

export interface ServiceUnitArgs extends Omit<SandboxArgs, "ownAccount"> {
  readonly description: string;
  /** Account and group the job runs as; nobody else's. */
  readonly account: string;
  readonly command: string;
  /** Time span after which a run is ended, as systemd.time(7) has it. */
  readonly timeLimit: string;
  /** Further lines of its [Unit] section, each ended. Default none. */
  readonly ties?: string;
  /** Paths that are out of its sight where it has a file system view of its own. Default none. */
  readonly hidden?: readonly string[];
}

/**
 * Renders the service that runs one backup. It is started by its timer, or by hand; while it runs, another start joins
 * that run. Its database's users come first, for the processor and for the disk.
 */
export function renderServiceUnit(args: ServiceUnitArgs): string {
  const { description, account, command, timeLimit, ties = "" } = args;
  return `# Managed by pulumi up (pgbackup).
[Unit]
Description=${description}
After=postgresql.service network-online.target
Wants=network-online.target
${ties}
[Service]
Type=oneshot
User=${account}
Group=${account}
ExecStart=${command}
TimeoutStartSec=${timeLimit}
Nice=10
IOSchedulingClass=idle

${renderSandbox({ ...args, ownAccount: true })}
${renderHidden(args)}`;
}

export interface DrillUnitArgs extends ServiceUnitArgs {
  /** Most memory it may take, page cache included. */
  readonly memory: string;
}

/** Renders the service that does one drill. What a drill that is killed leaves behind is removed after it. */
export function renderDrillUnit(args: DrillUnitArgs): string {
  const { description, account, command, timeLimit, ties = "", memory, hosts } = args;
  return `# Managed by pulumi up (pgbackup).
[Unit]
Description=${description}
${hosts.length > 0 ? "After=network-online.target\nWants=network-online.target\n" : ""}${ties}
[Service]
Type=oneshot
User=${account}
Group=${account}
ExecStart=${command}
ExecStopPost=${command} --clean-up
TimeoutStartSec=${timeLimit}
Nice=19
IOSchedulingClass=idle
CPUWeight=idle
MemoryMax=${memory}

${renderSandbox({ ...args, ownAccount: true })}
${renderHidden(args)}`;
}

function renderHidden({ hidden = [], sandbox }: ServiceUnitArgs): string {
  if (hidden.length === 0) return "";
  if (sandbox === "basic") return "# Nothing is hidden from it either.\n";
  return hidden.map((path) => `InaccessiblePaths=-${path}\n`).join("");
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
