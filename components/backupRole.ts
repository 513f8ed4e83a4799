import * as pulumi from "@pulumi/pulumi";
import { account, audit, type Container, databaseRole } from "./container";
import { type Grants, renderRoleSql } from "./render/roleSql";

export interface BackupRoleArgs extends Grants {
  readonly container: Container;
  /** Name of the PostgreSQL role and of the operating-system account. */
  readonly role: string;
  /** Those that are there: a role can be granted nothing in others. */
  readonly databases: readonly string[];
}

/** Connections the role may hold at once: the dump's and its snapshot's for each of several parallel jobs. */
const CONNECTION_LIMIT = 20;

/**
 * The read-only role that dumps, and the account of the same name: PostgreSQL's peer authentication lets it in, so no
 * password exists. Where it does not, applying fails and names the line of pg_hba.conf that decides.
 */
export class BackupRole extends pulumi.ComponentResource {
  /** The account, for what has to be owned by it. */
  readonly account: pulumi.Resource;
  readonly role: pulumi.Resource;

  private readonly container: Container;
  private readonly sql: string;

  constructor(name: string, args: BackupRoleArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:BackupRole", name, {}, opts);
    const { container, role, databases, grants, bypassRls, largeObjects } = args;
    const wanted = { role, databases, grants, bypassRls, largeObjects, connectionLimit: CONNECTION_LIMIT };
    this.account = container.declare(account(role), { parent: this });
    this.container = container;
    this.sql = renderRoleSql(wanted);
    this.role = container.declare(databaseRole({ ...wanted, sql: this.sql }), {
      parent: this,
      dependsOn: this.account,
    });
    this.registerOutputs();
  }

  /**
   * Has `up` say what the role can and cannot read, and whether it can do more.
   *
   * @param command The backup command.
   * @param after What has to stand in the container for it to run, besides the role.
   */
  declareAudit(command: string, after: readonly pulumi.Resource[]): void {
    this.container.declare(audit([command, "--audit"], this.sql), { parent: this, dependsOn: [this.role, ...after] });
  }
}
