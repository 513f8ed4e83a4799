import * as pulumi from "@pulumi/pulumi";
import { type Container, directory } from "./container";
import { renderTies, type TiedUnits } from "./render/outcomeUnits";
import { renderDrillUnit } from "./render/units";
import { declareTimedService } from "./timedService";

export interface BackupDrillArgs extends TiedUnits {
  readonly container: Container;
  /** Prefix of the units, e.g. trade-show-db. */
  readonly name: string;
  readonly account: string;
  readonly command: string;
  /** Directory of the job's records, where reports are kept. */
  readonly stateDirectory: string;
  /** Directory of the scratch server; declared here if it is not below the records. */
  readonly drillDirectory: string;
  /** Files and directories that the drill is not to see, e.g. the production server's socket. */
  readonly hidden: readonly string[];
  /** Names or addresses of the hosts that it fetches copies from; none where it restores the container's own dumps. */
  readonly hosts: readonly string[];
  readonly memory: string;
  readonly timeLimit: string;
  readonly calendar: string;
  /** What has to stand in the container before. */
  readonly after: readonly pulumi.Resource[];
}

/**
 * The service that restores the newest dumps into a scratch server and proves them, and the timer that starts it every
 * week. It has no network but to where the copies are, and cannot see the production server's socket, where the container
 * allows that.
 */
export class BackupDrill extends pulumi.ComponentResource {
  readonly service: string;
  readonly timer: string;

  constructor(name: string, args: BackupDrillArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:BackupDrill", name, {}, opts);
    const { container, account, stateDirectory, drillDirectory, calendar } = args;
    const description = "Drill: the newest backups restored into a scratch server and proved";
    this.service = `${args.name}-drill.service`;
    this.timer = `${args.name}-drill.timer`;

    const before = [...args.after];
    const isOwn = !drillDirectory.startsWith(`${stateDirectory}/`);
    if (isOwn) {
      const scratch = directory({ path: drillDirectory, mode: "0700", owner: `${account}:${account}` });
      before.push(container.declare(scratch, { parent: this, dependsOn: before }));
    }
    const content = renderDrillUnit({
      ...args,
      description,
      ties: renderTies(args),
      writable: isOwn ? [stateDirectory, drillDirectory] : [stateDirectory],
      sandbox: container.sandbox,
    });
    const { service, timer } = this;
    declareTimedService(
      container,
      { service, timer, content, description, calendar, jitter: "0", after: before },
      this,
    );
    this.registerOutputs();
  }
}
