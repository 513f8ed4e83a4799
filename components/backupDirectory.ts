import * as pulumi from "@pulumi/pulumi";
import { type Container, directory } from "./container";

export interface BackupDirectoryArgs {
  readonly container: Container;
  /** Account that owns scheduled dumps. */
  readonly account: string;
  /** Directory of the dumps. */
  readonly path: string;
  /** Directory of the job's own records. */
  readonly statePath: string;
  /** What has to stand in the container before. */
  readonly after: readonly pulumi.Resource[];
}

/**
 * Where dumps are kept, and the job's records of its off-host copies beside it.
 *
 * `postgres` may write there (`sudo -u postgres pg_dump --file=…` works as operators type it), the set-group-id bit
 * lets it read every dump, and the sticky bit keeps it from deleting scheduled ones. On destroy nothing is deleted:
 * dumps go to postgres, records to root, because a later account could inherit the freed uid.
 */
export class BackupDirectory extends pulumi.ComponentResource {
  readonly artefacts: pulumi.Resource[];

  constructor(name: string, args: BackupDirectoryArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:BackupDirectory", name, {}, opts);
    const { container, account, path, statePath, after } = args;
    const dumps = directory({
      path,
      mode: "3770",
      owner: `${account}:postgres`,
      data: { heir: "postgres", pattern: "*_[0-9]*T[0-9]*Z.*", mode: "0640" },
    });
    const records = directory({
      path: statePath,
      mode: "0750",
      owner: `${account}:${account}`,
      data: { heir: "root", pattern: "*", mode: "0640" },
    });
    this.artefacts = [dumps, records].map((artefact) =>
      container.declare(artefact, { parent: this, dependsOn: [...after] }),
    );
    this.registerOutputs();
  }
}
