import { BASIC } from "./sandbox";

/** Units that a service starts. */
export interface TiedUnits {
  /** Beside it. */
  readonly started?: string;
  /** When it has failed, however that was, and when it has succeeded. */
  readonly failed?: string;
  readonly succeeded?: string;
}

/** Whose end is told of. */
export type Subject = "backup" | "drill";

export interface OutcomeUnitArgs {
  /** Account the program runs as. */
  readonly account: string;
  /** Path of backup.env. */
  readonly settings: string;
  /** Path of outcome.sh. */
  readonly program: string;
}

/**
 * Without a file system view: what tells of a run must start in a container that has lost the right to mount, which is a
 * reason for runs to fail.
 */
const CONFINED = `${BASIC}\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6`;

/** The same for who hands mail to postfix or exim, whose sendmail is set-group-id or set-user-id. */
const MAILING = `# sendmail may gain privileges: those of the mail system.
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETGID CAP_SETUID
AmbientCapabilities=
UMask=0027`;

/**
 * Renders the unit that tells what came of a night or a drill; started by hand, it sends a test message.
 *
 * @param args.after Unit whose end it waits for, so that a ping of the start never comes after that of the end.
 * @param args.mail Whether it sends mail.
 */
export function renderOutcomeUnit(
  args: OutcomeUnitArgs & { readonly subject: Subject; readonly after?: string; readonly mail: boolean },
): string {
  const { subject, program } = args;
  const order = args.after === undefined ? "" : `After=${args.after}\n`;
  // The account may not read the journal else, and people are to be shown what failed.
  const journal = "SupplementaryGroups=systemd-journal\n";
  const command = subject === "backup" ? `${program} ended` : `${program} ended ${subject}`;
  return `${render(args, subject, `What came of the ${subject}, for people and monitoring`, order)}ExecStart=${command}
${journal}
${args.mail ? MAILING : CONFINED}
`;
}

/** Renders the unit that pings the start of a night, beside the backup: it can neither delay it nor make it fail. */
export function renderStartedUnit(args: OutcomeUnitArgs): string {
  return `${render(args, "backup", "Ping that a backup has begun", "")}ExecStart=${args.program} started

${CONFINED}
`;
}

function render({ account, settings }: OutcomeUnitArgs, subject: Subject, description: string, order: string): string {
  return `# Managed by pulumi up (pgbackup).
[Unit]
Description=${description}
${order}# However often a ${subject} fails, each is told.
StartLimitIntervalSec=0

[Service]
Type=oneshot
User=${account}
Group=${account}
TimeoutStartSec=5min
Environment=BACKUP_ENV=${settings}
`;
}

/**
 * Renders the lines by which systemd starts these units with a service; one that was killed could start nothing itself.
 * They must be two for its end: systemd tells a unit that is both nothing of what it is started for (MONITOR_*).
 */
export function renderTies({ started, failed, succeeded }: TiedUnits): string {
  return [
    ...(started === undefined ? [] : [`Wants=${started}\n`]),
    ...(failed === undefined ? [] : [`OnFailure=${failed}\n`]),
    ...(succeeded === undefined ? [] : [`OnSuccess=${succeeded}\n`]),
  ].join("");
}
