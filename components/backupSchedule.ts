import * as pulumi from "@pulumi/pulumi";
import type { Container } from "./container";
import { renderTies, type TiedUnits } from "./render/outcomeUnits";
import { renderServiceUnit } from "./render/units";
import { declareTimedService } from "./timedService";

export interface BackupScheduleArgs extends TiedUnits {
  readonly container: Container;
  /** Prefix of the units, e.g. trade-show-db. */
  readonly name: string;
  readonly databases: readonly string[];
  readonly account: string;
  readonly command: string;
  readonly writable: readonly string[];
  /** Names or addresses of all hosts the job talks to; it is kept from others where that can be enforced. */
  readonly hosts: readonly string[];
  /** Files that the job is not to see. */
  readonly hidden: readonly string[];
  /** Time span after which a run is ended. */
  readonly timeLimit: string;
  readonly calendar: string;
  readonly jitter: string;
  /** What has to stand in the container before. */
  readonly after: readonly pulumi.Resource[];
}

/** The service that makes a backup, and the timer that starts it every night. */
export class BackupSchedule extends pulumi.ComponentResource {
  readonly service: string;
  readonly timer: string;

  constructor(name: string, args: BackupScheduleArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:BackupSchedule", name, {}, opts);
    const { container, account, command, writable, hosts, hidden, timeLimit, calendar, jitter, after } = args;
    const description = `Backup of ${args.databases.length === 1 ? "database" : "databases"} ${describe(args.databases)}`;
    this.service = `${args.name}-backup.service`;
    this.timer = `${args.name}-backup.timer`;

    const { service, timer } = this;
    const content = renderServiceUnit({
      description,
      account,
      command,
      ties: renderTies(args),
      writable,
      hosts,
      hidden,
      timeLimit,
      sandbox: container.sandbox,
    });
    declareTimedService(container, { service, timer, content, description, calendar, jitter, after }, this);
    this.registerOutputs();
  }
}

/** Names for a unit's description, where % would be read as a specifier. */
function describe(databases: readonly string[]): string {
  return databases.join(", ").replaceAll("%", "%%");
}
