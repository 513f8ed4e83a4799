import * as assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

/** Result of a program that was run to its end. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running program, and the promise of its outcome. */
export interface Running {
  readonly pid: number;
  readonly outcome: Promise<Outcome>;
}

export function start(command: string, args: readonly string[], env: NodeJS.ProcessEnv, input = ""): Running {
  const child = spawn(command, args, { env, stdio: ["pipe", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
  return { pid: child.pid ?? -1, outcome };
}

/** Waits until a condition holds; fails, naming it, after the limit. */
export async function until<T>(what: string, probe: () => T | undefined | false, seconds = 120): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = probe();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Ids of the processes whose environment holds this assignment, of one program if a name is given. */
export function findProcesses(assignment: string, name?: string): number[] {
  return fs
    .readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        if (name !== undefined && fs.readFileSync(`/proc/${pid}/comm`, "utf8").trim() !== name) return false;
        return fs.readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(assignment);
      } catch {
        return false; // gone meanwhile
      }
    });
}

/**
 * A private PostgreSQL on a Unix socket with Debian's peer authentication, and the operating-system account of a
 * backup role. Needs root and Debian's server package; nothing of it outlives stop().
 */
export class Cluster {
  readonly directory = fs.mkdtempSync(path.join(os.tmpdir(), "pgbackup-cluster-"));
  readonly role = `tsb_${process.pid}`;
  readonly env: NodeJS.ProcessEnv;

  /** @param binaries directory of initdb, pg_ctl and postgres; default: Debian's */
  constructor(private readonly binaries = debianBinaries()) {
    this.env = { PATH: process.env["PATH"], LANG: "C.UTF-8", PGHOST: this.directory, PGPORT: "5432" };
    execFileSync("chown", ["postgres:", this.directory]);
    fs.chmodSync(this.directory, 0o755);
    const data = this.data;
    this.asPostgres(`${this.binaries}/initdb`, ["-D", data, "-A", "peer", "-E", "UTF8", "--locale=C.UTF-8", "-N"]);
    fs.appendFileSync(
      path.join(data, "postgresql.conf"),
      `listen_addresses = ''\nunix_socket_directories = '${this.directory}'\nfsync = off\n`,
    );
    this.asPostgres(`${this.binaries}/pg_ctl`, ["-D", data, "-w", "-l", `${this.directory}/log`, "start"]);
    execFileSync("useradd", ["--system", "--no-create-home", this.role]);
    this.sql("postgres", `create role ${this.role} login; create role app`);
    if (this.version >= 14) this.sql("postgres", `grant pg_read_all_data to ${this.role}`);
  }

  /** The server's major version. */
  get version(): number {
    return Number(fs.readFileSync(path.join(this.data, "PG_VERSION"), "utf8"));
  }

  private get data(): string {
    return path.join(this.directory, "data");
  }

  asPostgres(command: string, args: readonly string[]): string {
    return execFileSync("runuser", ["-u", "postgres", "--", command, ...args], {
      env: this.env,
      cwd: "/",
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      maxBuffer: 64 * 1024 * 1024,
    });
  }

  createDatabase(name: string, sql: string): void {
    this.asPostgres("createdb", ["--owner=app", "--", name]);
    this.sql(name, `set role app; ${sql}`);
  }

  /** Runs SQL as the superuser and returns its unaligned answer. */
  sql(database: string, text: string): string {
    return this.asPostgres("psql", [
      "-XqAt",
      "-v",
      "ON_ERROR_STOP=1",
      `--dbname=${connectionString(database)}`,
      "-c",
      text,
    ]).trim();
  }

  /** Runs a file of SQL, statement by statement, as a role; its variable `database` is the database's name. */
  runFile(database: string, role: string, file: string): void {
    const readable = path.join(this.directory, path.basename(file));
    fs.copyFileSync(file, readable);
    const session = ["-v", "ON_ERROR_STOP=1", "-v", `database=${database}`, "-c", `set role ${role}`, "-f", readable];
    this.asPostgres("psql", ["-Xqo", "/dev/null", `--dbname=${connectionString(database)}`, ...session]);
  }

  /** Schema and rows as pg_dump writes them, without the random key that some versions put into it. */
  dump(database: string, ...options: readonly string[]): string {
    const text = this.asPostgres("pg_dump", [`--dbname=${connectionString(database)}`, ...options]);
    return text.replace(/^\\(un)?restrict .*$/gm, "");
  }

  /** Does something while the server warns whoever logs in. */
  async whileWarning(act: () => Promise<void>): Promise<void> {
    this.sql("postgres", "alter role all set default_tablespace = 'gone'");
    try {
      await act();
    } finally {
      this.sql("postgres", "alter role all reset default_tablespace");
    }
  }

  /** For settings that the server reads only when it starts. */
  restart(): void {
    const log = `${this.directory}/log`;
    this.asPostgres(`${this.binaries}/pg_ctl`, ["-D", this.data, "-m", "fast", "-w", "-l", log, "restart"]);
  }

  /** Stops the server; `restart` starts it again. */
  halt(): void {
    this.asPostgres(`${this.binaries}/pg_ctl`, ["-D", this.data, "-m", "immediate", "-w", "stop"]);
  }

  /** Fails if a test left something running, and ends it, so that it does not fail the tests after it, too. */
  stop(): void {
    this.halt();
    const left = spawnSync("pgrep", ["--list-full", "--runstates", "DIRST", "--uid", this.role], {
      encoding: "utf8",
    }).stdout;
    if (left !== "") spawnSync("pkill", ["-KILL", "--uid", this.role]);
    execFileSync("userdel", ["--force", this.role], { stdio: "ignore" }); // what is killed may not be gone yet
    fs.rmSync(this.directory, { recursive: true, force: true });
    assert.equal(left, "", "left running");
  }
}

function debianBinaries(): string {
  const versions = fs
    .readdirSync("/usr/lib/postgresql")
    .filter((v) => fs.existsSync(`/usr/lib/postgresql/${v}/bin/initdb`));
  return `/usr/lib/postgresql/${versions.sort().at(-1) ?? "15"}/bin`;
}

function connectionString(database: string): string {
  return `dbname='${database.replace(/\\/g, "\\\\").replace(/'/g, "\\'")}'`;
}
