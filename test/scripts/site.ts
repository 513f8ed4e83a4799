import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { Cluster, findProcesses, start, type Outcome, type Running } from "./cluster";
import { accessKey, secretKey } from "./s3Server";

export const scripts = path.resolve(__dirname, "../../scripts");

export interface Manifest {
  readonly database: string;
  readonly file: string;
  readonly label: string | null;
  readonly size: number;
  readonly sha256: string;
  /** As ISO 8601 has them, in UTC, to the millisecond. */
  readonly started: string;
  readonly ended: string;
  readonly snapshot: string;
  readonly server_version: string;
  readonly compression: string;
  readonly counted: "all" | readonly string[];
  readonly database_size: number;
  readonly warnings: readonly string[];
  readonly tables: Readonly<Record<string, number>>;
  /** Rows of tables that extensions registered for dumps, of those that a dump holds. */
  readonly extension_tables: Readonly<Record<string, number>>;
  /** The role that the application uses the database as, and a table that it may read. */
  readonly application: {
    readonly role: string;
    readonly login: boolean;
    readonly tables: number;
    readonly reads: string | null;
  } | null;
  readonly structure: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Values of backup.env, by key. */
export type Settings = Readonly<Record<string, string | readonly string[]>>;

/** Flips a bit in the middle of a file, as a disk does that forgets. */
export function flipBit(file: string): void {
  const bytes = fs.readFileSync(file);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  fs.writeFileSync(file, bytes);
}

const quote = (text: string): string => `'${text.replace(/'/g, "'\\''")}'`;

/** What the package lays out in the container: directories, settings, secrets. One per test, on a shared cluster. */
export class Site {
  readonly root = fs.mkdtempSync(path.join(os.tmpdir(), "pgbackup-site-"));
  readonly dumps = path.join(this.root, "dumps");
  readonly state = path.join(this.root, "state");
  readonly settingsFile = path.join(this.root, "backup.env");
  readonly secretsFile = path.join(this.root, "secrets.env");
  readonly programs = path.join(this.root, "programs");

  constructor(
    readonly cluster: Cluster,
    readonly databases: readonly string[],
    settings: Settings = {},
    newest: readonly string[] = [],
  ) {
    fs.chmodSync(this.root, 0o755);
    for (const directory of [this.dumps, this.state, this.programs]) fs.mkdirSync(directory);
    execFileSync("chown", [`${cluster.role}:postgres`, this.dumps]);
    execFileSync("chmod", ["3770", this.dumps]);
    execFileSync("chown", [`${cluster.role}:${cluster.role}`, this.state]);
    fs.chmodSync(this.state, 0o750);
    fs.chmodSync(this.programs, 0o755);
    fs.writeFileSync(
      this.secretsFile,
      `S3_ACCESS_KEY_ID=${quote(accessKey)}\nS3_SECRET_ACCESS_KEY=${quote(secretKey)}\n`,
      { mode: 0o600 },
    );
    execFileSync("chown", [cluster.role, this.secretsFile]);
    this.configure(settings, newest);
  }

  configure(settings: Settings, newest: readonly string[] = []): void {
    const values: Settings = {
      BACKUP_NAME: "trade-show-db",
      BACKUP_ROLE: this.cluster.role,
      BACKUP_DIRECTORY: this.dumps,
      BACKUP_STATE: this.state,
      BACKUP_SECRETS: this.secretsFile,
      RETENTION_DAYS: "14",
      S3_BUCKET: "",
      S3_PREFIX: "ct2320/",
      S3_STALL_SECONDS: "60",
      ...settings,
    };
    const lines = Object.entries(values).map(([key, value]) =>
      typeof value === "string" ? `${key}=${quote(value)}` : `${key}=(${value.map(quote).join(" ")})`,
    );
    lines.push(`DATABASES=(${this.databases.map(quote).join(" ")})`, `NEWEST_RECORDS=(${newest.map(quote).join(" ")})`);
    fs.writeFileSync(this.settingsFile, lines.join("\n") + "\n");
    fs.chmodSync(this.settingsFile, 0o644);
  }

  start(script: string, args: readonly string[] = [], input = ""): Running {
    const env = {
      ...this.cluster.env,
      PATH: `${this.programs}:${this.cluster.env["PATH"]}`,
      BACKUP_ENV: this.settingsFile,
    };
    return start(path.join(scripts, script), args, env, input);
  }

  run(script: string, args: readonly string[] = [], input = ""): Promise<Outcome> {
    return this.start(script, args, input).outcome;
  }

  /** Ids of the processes that a script of this site started, of one program if a name is given. */
  processes(name?: string): number[] {
    return findProcesses(`BACKUP_ENV=${this.settingsFile}`, name);
  }

  /** Sends a signal to every such process; returns how many there were. */
  signal(signal: NodeJS.Signals, name?: string): number {
    const found = this.processes(name);
    for (const pid of found) {
      try {
        process.kill(pid, signal);
      } catch {
        // gone by itself
      }
    }
    return found.length;
  }

  /** Kills every such process, and those that they start meanwhile. */
  async kill(): Promise<void> {
    while (this.signal("SIGKILL") > 0) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Names in the dump directory, hidden ones included, the globals of good nights left out. */
  get files(): string[] {
    return fs
      .readdirSync(this.dumps)
      .filter((file) => !/^globals_\w+\.sql(\.json)?$/.test(file))
      .sort();
  }

  /** Names of the globals files. */
  get globals(): string[] {
    return fs
      .readdirSync(this.dumps)
      .filter((file) => /globals_\w+\.sql$/.test(file))
      .sort();
  }

  get dumpFiles(): string[] {
    return this.files.filter((file) => file.endsWith(".dump"));
  }

  manifest(dump: string): Manifest {
    return JSON.parse(fs.readFileSync(path.join(this.dumps, `${dump}.json`), "utf8")) as Manifest;
  }

  sha256(dump: string): string {
    return createHash("sha256")
      .update(fs.readFileSync(path.join(this.dumps, dump)))
      .digest("hex");
  }

  /** Renames a dump with its manifest as if it had been made that many days ago; returns its new name. */
  age(dump: string, days: number): string {
    const stamp = new Date(Date.now() - days * 86_400_000).toISOString().replace(/[-:]|\.\d+/g, "");
    const name = dump.replace(/_\d{8}T\d{6}Z\.dump$/, `_${stamp}.dump`);
    const manifest = { ...this.manifest(dump), file: name };
    fs.renameSync(path.join(this.dumps, dump), path.join(this.dumps, name));
    fs.rmSync(path.join(this.dumps, `${dump}.json`));
    fs.writeFileSync(path.join(this.dumps, `${name}.json`), JSON.stringify(manifest));
    execFileSync("chown", [`${this.cluster.role}:`, path.join(this.dumps, `${name}.json`)]);
    return name;
  }

  /** Puts a program of this name before the real one on the scripts' PATH. */
  shadow(name: string, body: string): void {
    fs.writeFileSync(path.join(this.programs, name), `#!/bin/bash\n${body}\n`, { mode: 0o755 });
  }

  remove(): void {
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}
