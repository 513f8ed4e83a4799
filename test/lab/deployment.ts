/** A container with the sample database and a stack that backs it up, for one file of tests. */
import * as assert from "node:assert/strict";
import * as fs from "node:fs";
import { DeleteBucketCommand, DeleteObjectCommand, ListObjectVersionsCommand } from "@aws-sdk/client-s3";
import { Lab } from "../../lab/lab";
import { settingsFor, type Settings } from "../../lab/settings";
import { EngineError, type LabStack, type Outcome } from "../../lab/stack";
import type { ContainerOptions } from "../../lab/container";

export interface DeploymentOptions extends ContainerOptions {
  /** Over what `settingsFor` gives. */
  readonly settings?: Settings | ((lab: Lab) => Settings);
  /** Rows of the sample database's table of expenses. Default 2,000: enough for what is not about size. */
  readonly expenses?: number;
}

export class Deployment {
  private constructor(
    readonly lab: Lab,
    readonly vmid: number,
    readonly stack: LabStack,
  ) {}

  /** A new container under this id, nothing deployed to it yet. Each file of tests has ids of its own. */
  static async create(vmid: number, { settings = {}, expenses = 2_000, ...options }: DeploymentOptions = {}) {
    const lab = await Lab.open(process.env.PGBACKUP_LAB ?? "test");
    await lab.createContainer(vmid, { ...options, fresh: true });
    await lab.createSampleDatabase(vmid, { database: "expense_app_production", expenses });
    const given: Settings = {
      ...settingsFor(lab, vmid),
      schedule: timeOfDay(12),
      drillSchedule: timeOfDay(12),
      ...(typeof settings === "function" ? settings(lab) : settings),
    };
    const stack = lab.stack(`test-${vmid}`, given);
    await stack.cancel(); // what a run that was cut off has left
    await stack.forget();
    await removeBucket(lab, String(given.s3Bucket));
    removeFromNas(lab, vmid);
    return new Deployment(lab, vmid, stack);
  }

  /** Removes container, bucket and stack. */
  async remove(): Promise<void> {
    await this.lab.destroyContainer(this.vmid);
    await removeBucket(this.lab, this.bucket);
    removeFromNas(this.lab, this.vmid);
    await this.stack.forget();
  }

  /** When the timer starts the backup, as systemd has it: half a day from the start of the tests. */
  get calendar(): string {
    return `${String(this.stack.config.get("schedule"))} UTC`;
  }

  /** Name of the bucket. */
  get bucket(): string {
    return String(this.stack.config.get("s3Bucket"));
  }

  /** Types a line on the host, through real SSH, as an operator would; fails unless it exits with 0. */
  async type(line: string, input?: string): Promise<string> {
    const result = await this.lab.pct(line, input === undefined ? {} : { input });
    if (result.code !== 0) {
      const [, unit] = /systemctl start (\S+)/.exec(line) ?? [];
      const journal = unit === undefined ? "" : await this.journal(unit, "-n 30");
      assert.fail(`${line}: ${result.stderr || result.stdout}${journal}`);
    }
    return result.stdout;
  }

  /** Runs a program in the container; fails unless it exits with 0. Returns what it printed. */
  async run(argv: readonly string[], user?: string): Promise<string> {
    const result = await this.lab.exec(this.vmid, argv, user === undefined ? {} : { user });
    assert.equal(result.code, 0, `${argv.join(" ")}: ${result.stderr || result.stdout}`);
    return result.stdout;
  }

  /** Runs lines of bash in the container as root; fails unless all of them succeed. Returns what they printed. */
  async shell(lines: string): Promise<string> {
    return this.run(["bash", "--norc", "-euo", "pipefail", "-c", lines]);
  }

  /**
   * What a unit has said, up to now: of one that has just ended, journald may not have read the last lines yet.
   * @param options of journalctl, e.g. `-b`
   */
  async journal(unit: string, options = ""): Promise<string> {
    return this.shell(`journalctl --sync; journalctl --no-pager -o cat -u ${unit} ${options}`);
  }

  /** Runs SQL as postgres; returns the rows, columns separated by |. */
  async sql(statement: string, database = "expense_app_production"): Promise<string> {
    return (
      await this.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement], "postgres")
    ).trim();
  }

  /** Fails unless a preview finds nothing to do. */
  async expectClean(): Promise<void> {
    await this.stack.preview({ expectNoChanges: true });
  }
}

/**
 * A calendar expression for a time of day that is so many hours from now. Timers in the lab's containers are real: at the
 * hour of the default, tests would get a backup that they did not start.
 */
export function timeOfDay(hoursFromNow: number): string {
  return `*-*-* ${new Date(Date.now() + hoursFromNow * 3_600_000).toISOString().slice(11, 13)}:00:00`;
}

function removeFromNas(lab: Lab, vmid: number): void {
  fs.rmSync(lab.nas.file(`ct${vmid}`), { recursive: true, force: true });
}

async function removeBucket(lab: Lab, Bucket: string): Promise<void> {
  const s3 = lab.s3.client();
  try {
    const { Versions = [], DeleteMarkers = [] } = await s3.send(new ListObjectVersionsCommand({ Bucket }));
    for (const { Key, VersionId } of [...Versions, ...DeleteMarkers]) {
      await s3.send(new DeleteObjectCommand({ Bucket, Key, VersionId }));
    }
    await s3.send(new DeleteBucketCommand({ Bucket }));
  } catch (error) {
    if (!(error instanceof Error) || error.name !== "NoSuchBucket") throw error;
  }
}

/** Names of the resources an operation changes, without the container's prefix, sorted. */
export function changed(outcome: Outcome): string[] {
  return outcome.steps
    .filter(({ op, type }) => op !== "same" && !/^pulumi:(pulumi|providers:pulumi)/.test(type))
    .map(({ op, name }) => `${op} ${name.replace(/^ct\d+:/, "")}`)
    .sort();
}

/** The warnings an operation printed. */
export function warnings(outcome: Outcome): string[] {
  return outcome.diagnostics.filter(({ severity }) => severity === "warning").map(({ message }) => message.trim());
}

/** What an operation printed when it failed; fails if it did not. */
export async function failure(operation: Promise<Outcome>): Promise<string> {
  try {
    await operation;
  } catch (error) {
    if (error instanceof EngineError) return error.outcome.output;
    throw error;
  }
  return assert.fail("the operation should have failed");
}
