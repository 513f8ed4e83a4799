/** Who is told what came of a night or a drill: facts of the runbook, without any secret. */
export interface TellingFacts {
  /** Unit that tells; undefined where nobody is told. */
  readonly unit?: string;
  /** Whether drills are told of, too. */
  readonly drills: boolean;
  readonly command?: string;
  readonly mail?: string;
  readonly webhook: boolean;
  readonly ping: boolean;
  readonly metricsDirectory?: string;
}

/** Renders the runbook's part on who is told when a night or a drill fails. */
export function renderTelling({ unit, ...facts }: TellingFacts, inContainer: (...words: string[]) => string): string {
  const { drills, command, mail, webhook, ping, metricsDirectory } = facts;
  const people = [
    ...(command === undefined ? [] : [`the program \`${command}\``]),
    ...(mail === undefined ? [] : [`mail to ${mail}`]),
    ...(webhook ? ["the webhook"] : []),
  ];
  const lines = [
    people.length === 0
      ? "**Nobody is told when a night fails**: set `notifyMail`, `notifyCommand` or `notifyWebhook`."
      : `A night ${drills ? "or a drill " : ""}that fails, however it ends, is told by ${people.join(", ")}; so is the first good one after it.`,
    ping
      ? "`pingUrl` is pinged each night: its receiver notices when a night never began."
      : "**Nobody misses a night that never began** (a container that is down, a timer that is off): set `pingUrl`.",
  ];
  if (metricsDirectory !== undefined) {
    lines.push(
      `Metrics for node_exporter are in ${metricsDirectory}, e.g. an alert on \`time() - pgbackup_last_success_timestamp_seconds > 93600\`.`,
    );
    if (drills) {
      lines.push(
        "How long a recovery takes is `pgbackup_drill_recovery_seconds`. A drill pings nothing: one that never began is noticed by an alert on `time() - pgbackup_drill_last_success_timestamp_seconds > 691200` where they are weekly.",
      );
    }
  }
  const test = `
Do messages arrive? This sends a test; what could not be told is in the journal:

    ${inContainer("systemctl start", String(unit))}
    ${inContainer("journalctl --no-pager --since today --unit", String(unit))}
`;
  return `## Who is told when a night fails

${lines.join(" ")}
${unit === undefined ? "" : test}`;
}
