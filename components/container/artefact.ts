import type * as pulumi from "@pulumi/pulumi";
import type { Grants } from "../render/roleSql";

/**
 * One thing that is to stand in the container, as plain data. What a kind means is in `agent/<kind>.sh`: how it is
 * applied, observed and removed.
 */
export interface Artefact {
  readonly kind: "file" | "directory" | "tree" | "account" | "packages" | "unit" | "role" | "audit";
  /** Arguments of the kind; the first identifies the artefact within its kind (a path, a unit's name …). */
  readonly parameters: readonly string[];
  /** What travels by standard input: the file's text, the unit, the SQL. A secret one is to be a secret output. */
  readonly content?: pulumi.Input<string>;
}

export interface FileArgs {
  /** Absolute path; missing parent directories are made. */
  readonly path: string;
  readonly content: pulumi.Input<string>;
  /** Octal, four digits. Default 0644. */
  readonly mode?: string;
  /** `user:group`. Default root:root. */
  readonly owner?: string;
}

/** A regular file, written beside its target and renamed. What stood there before a first apply is kept aside. */
export function file({ path, content, mode = "0644", owner = "root:root" }: FileArgs): Artefact {
  return { kind: "file", parameters: [path, mode, owner], content };
}

export interface DirectoryArgs {
  readonly path: string;
  /** Octal, four digits. Default 0755. */
  readonly mode?: string;
  /** `user:group`. Default root:root. */
  readonly owner?: string;
  /** Set where the directory holds data; without it an empty directory is removed with its artefact. */
  readonly data?: {
    /** Account that is given everything, closed to all others, when the artefact is removed. */
    readonly heir: string;
    /** Files that belong to the owner, as a `find -name` pattern … */
    readonly pattern: string;
    /** … and their mode. */
    readonly mode: string;
  };
}

export function directory({ path, mode = "0755", owner = "root:root", data }: DirectoryArgs): Artefact {
  const inheritance = data ? [data.heir, data.mode, data.pattern] : [];
  return { kind: "directory", parameters: [path, mode, owner, ...inheritance] };
}

/**
 * A directory of programs that holds these files and no others, each root's and executable.
 *
 * @param files Their texts by path relative to the directory. A text ends with a line feed.
 */
export function tree(path: string, files: Readonly<Record<string, string>>): Artefact {
  const texts = Object.entries(files).map(
    ([name, text]) => `==> ${name}, ${text.split("\n").length - 1} lines\n${text}`,
  );
  return { kind: "tree", parameters: [path], content: texts.join("") };
}

/** A system account with a group of its own that nobody can log in to. */
export function account(name: string): Artefact {
  return { kind: "account", parameters: [name] };
}

/**
 * Commands that must exist in the container, each with the Debian package that brings it, never uninstalled; or with
 * none where it is the user's to choose: then its absence is an error.
 */
export function packages(commands: Readonly<Record<string, string>>): Artefact {
  return { kind: "packages", parameters: Object.entries(commands).map(([command, name]) => `${command}=${name}`) };
}

export interface SystemdUnitArgs {
  /** Name with its suffix, e.g. `trade-show-db-backup.timer`. */
  readonly unit: string;
  readonly content: pulumi.Input<string>;
  /** `running`: enabled and started. `on-demand`: only loaded, for something else to start. */
  readonly wanted: "running" | "on-demand";
}

/** A unit in /etc/systemd/system, loaded as it stands there and without drop-ins of its own (they are kept aside). */
export function systemdUnit({ unit, content, wanted }: SystemdUnitArgs): Artefact {
  return { kind: "unit", parameters: [unit, wanted], content };
}

/** Grants as the agent reads them: see `read_grants` in `agent/roleFacts.sh`. */
export function grantWords({ databases, grants, bypassRls, largeObjects }: Grants): string[] {
  const each = grants === "all" ? [] : grants;
  return [
    ...(bypassRls ? ["--bypassrls"] : []),
    ...(largeObjects ? ["--large-objects"] : []),
    ...each.flatMap(({ database, schemas }) => schemas.flatMap((schema) => ["--schema", database, schema])),
    ...each.flatMap(({ database, owners }) => owners.flatMap((owner) => ["--owner", database, owner])),
    "--",
    ...databases,
  ];
}

export interface DatabaseRoleArgs extends Grants {
  readonly role: string;
  readonly connectionLimit: number;
  /** SQL that brings the role to the state the agent expects of a read-only role (see `agent/role.sh`). */
  readonly sql: string;
}

/** A read-only PostgreSQL role that logs in from the account of its name. */
export function databaseRole({ role, connectionLimit, sql, ...grants }: DatabaseRoleArgs): Artefact {
  return { kind: "role", parameters: [role, String(connectionLimit), ...grantWords(grants)], content: sql };
}

/**
 * A command whose findings `pulumi up` shows, on the first deployment and whenever what they depend on has changed.
 *
 * @param about Text that changes with what the findings depend on.
 */
export function audit(command: readonly string[], about: pulumi.Input<string>): Artefact {
  return { kind: "audit", parameters: command, content: about };
}
