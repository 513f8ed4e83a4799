import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { until } from "./cluster";

/** A NAS for tests: a real sshd on loopback whose one key may do nothing but rrsync into one directory. */
export class NasServer {
  readonly root = fs.mkdtempSync(path.join(os.tmpdir(), "pgbackup-nas-"));
  /** What the account sees as `/`. */
  readonly directory = path.join(this.root, "copies");
  port = 0;
  private daemon: ChildProcess | undefined;
  private log = "";

  /** @param owner account on this machine whose job logs in */
  constructor(owner: string) {
    fs.chmodSync(this.root, 0o755);
    fs.mkdirSync(this.directory);
    this.makeKey("host");
    this.makeKey("client");
    execFileSync("chown", [owner, this.keyFile]);
    this.admit("");
  }

  get keyFile(): string {
    return path.join(this.root, "client");
  }

  /** Values of backup.env. */
  get settings(): Record<string, string> {
    return {
      NAS_HOST: "127.0.0.1",
      NAS_PORT: String(this.port),
      NAS_USER: "root",
      NAS_DIRECTORY: "/ct2320",
      NAS_HOST_KEY: this.publicKey("host"),
      NAS_KEY_FILE: this.keyFile,
      NAS_RETENTION_DAYS: "0",
      NAS_STALL_SECONDS: "5",
    };
  }

  /** Names of the copies, sorted; the globals' and the probe's left out. */
  get copies(): string[] {
    const place = path.join(this.directory, "ct2320");
    if (!fs.existsSync(place)) return [];
    return fs
      .readdirSync(place)
      .filter((file) => !file.startsWith("globals_") && file !== ".pgbackup-probe")
      .sort();
  }

  file(name: string): string {
    return path.join(this.directory, "ct2320", name);
  }

  /** Lets the key in, with further options of rrsync, e.g. -no-del. */
  admit(options: string): void {
    const command = `restrict,command="/usr/bin/rrsync -no-lock ${options} ${this.directory}"`;
    fs.writeFileSync(path.join(this.root, "authorized_keys"), `${command} ${this.publicKey("client")}\n`, {
      mode: 0o600,
    });
  }

  /** Lets a key in besides that can only read, as the runbook says; returns its file. */
  admitReader(): string {
    this.makeKey("reader");
    const command = `restrict,command="/usr/bin/rrsync -no-lock -ro ${this.directory}"`;
    fs.appendFileSync(path.join(this.root, "authorized_keys"), `${command} ${this.publicKey("reader")}\n`);
    return path.join(this.root, "reader");
  }

  admitNobody(): void {
    fs.writeFileSync(path.join(this.root, "authorized_keys"), "", { mode: 0o600 });
  }

  makeKey(name: string): void {
    const file = path.join(this.root, name);
    for (const old of [file, `${file}.pub`]) fs.rmSync(old, { force: true });
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file]);
  }

  publicKey(name: string): string {
    return fs.readFileSync(path.join(this.root, `${name}.pub`), "utf8").trim();
  }

  fingerprint(name: string): string {
    const line = execFileSync("ssh-keygen", ["-lf", path.join(this.root, `${name}.pub`)], { encoding: "utf8" });
    return line.split(" ")[1] ?? "";
  }

  async start(): Promise<void> {
    if (this.port === 0) this.port = await freePort();
    fs.mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
    const config = path.join(this.root, "sshd_config");
    const lines = [
      `ListenAddress 127.0.0.1:${this.port}`,
      `HostKey ${path.join(this.root, "host")}`,
      `AuthorizedKeysFile ${path.join(this.root, "authorized_keys")}`,
      "PidFile none",
      "PermitRootLogin forced-commands-only",
      "PasswordAuthentication no",
      "UsePAM yes",
      "StrictModes no",
      "PrintMotd no",
    ];
    fs.writeFileSync(config, lines.join("\n") + "\n");
    const daemon = spawn("/usr/sbin/sshd", ["-D", "-e", "-f", config], { stdio: ["ignore", "ignore", "pipe"] });
    daemon.stderr.on("data", (chunk: Buffer) => (this.log += chunk.toString()));
    this.daemon = daemon;
    await until("sshd listens", () => {
      if (daemon.exitCode !== null) throw new Error(this.log);
      return this.log.includes("Server listening");
    });
  }

  async stop(): Promise<void> {
    const { daemon } = this;
    this.daemon = undefined;
    if (daemon === undefined || daemon.exitCode !== null) return;
    const ended = new Promise((resolve) => daemon.once("exit", resolve));
    daemon.kill("SIGTERM");
    await ended;
    this.log = "";
  }

  /** Ids of the rsync processes that work in the directory. */
  get servers(): number[] {
    return fs
      .readdirSync("/proc")
      .filter((pid) => /^\d+$/.test(pid) && this.serves(pid))
      .map(Number);
  }

  /** Of those, the ones that write: not those that speak with the client. */
  get writers(): number[] {
    const { servers } = this;
    return servers.filter((pid) => servers.includes(parentOf(pid)));
  }

  private serves(pid: string): boolean {
    try {
      const here = fs.readlinkSync(`/proc/${pid}/cwd`).startsWith(this.directory);
      return here && fs.readFileSync(`/proc/${pid}/comm`, "utf8") === "rsync\n";
    } catch {
      return false; // gone meanwhile
    }
  }

  async remove(): Promise<void> {
    await this.stop();
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s*(\d+)$/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return NaN;
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
