/** The Proxmox host of a lab: a real sshd with keys of its own, and `pct` on the PATH of its sessions. */
import * as fs from "node:fs";
import * as path from "node:path";
import { attempt, run, type Result, type RunOptions } from "./command";
import { Daemon } from "./daemon";
import { addresses, type Network } from "./network";
import { source } from "./places";
import { until } from "./waiting";

export class Host {
  readonly address = addresses.host;
  readonly port = 22;
  readonly user = "root";
  /** PATH of the host's sessions: `pct` of this lab first. */
  readonly path: string;
  private readonly keys: string;
  private readonly daemon: Daemon;

  constructor(
    private readonly directory: string,
    private readonly network: Network,
  ) {
    this.keys = path.join(directory, "host");
    this.path = `${path.join(directory, "bin")}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
    this.daemon = new Daemon("sshd", directory);
  }

  /** The key the host shows, `ssh-ed25519 AAAA…`, as in its ssh_host_ed25519_key.pub without the comment. */
  get hostKey(): string {
    return this.publicKey("ssh_host_ed25519_key");
  }

  /** The key that may log in, OpenSSH format. */
  get privateKey(): string {
    return fs.readFileSync(this.privateKeyFile, "utf8");
  }

  get privateKeyFile(): string {
    return path.join(this.keys, "id_ed25519");
  }

  /** Configuration with which `ssh -F <file> host` and `ssh -F <file> root@10.232.0.1` log in. */
  get sshConfig(): string {
    return path.join(this.keys, "ssh_config");
  }

  get running(): boolean {
    return this.daemon.pid !== undefined;
  }

  /** Starts sshd, unless it runs, and waits until it answers. */
  async up(): Promise<void> {
    await this.install();
    if (this.running) return;
    fs.mkdirSync("/run/sshd", { recursive: true, mode: 0o755 }); // sshd wants this empty directory, and made it root's
    const config = path.join(this.keys, "sshd_config");
    await run(["/usr/sbin/sshd", "-t", "-f", config]);
    this.daemon.start(this.network.inside(["/usr/sbin/sshd", "-D", "-e", "-f", config]), {
      PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    });
    await until(
      "the host's sshd answers",
      async () => {
        if (!this.running) throw new Error(this.daemon.lastWords());
        return (await this.ssh("true")).code === 0 ? true : undefined;
      },
      { timeout: 15_000 },
    );
  }

  async down(): Promise<void> {
    await this.daemon.stop();
  }

  /** Types a line on the host: a real SSH session, the line read by the login shell. */
  ssh(line: string, options: RunOptions = {}): Promise<Result> {
    return attempt(this.network.inside(["ssh", "-F", this.sshConfig, "host", line]), options);
  }

  /** Writes pct, keys and configuration where they are missing or of an older lab. */
  private async install(): Promise<void> {
    const bin = path.join(this.directory, "bin");
    const home = path.join(this.directory, "home");
    for (const each of [bin, home, this.keys]) fs.mkdirSync(each, { recursive: true });
    fs.chmodSync(this.keys, 0o700);
    for (const program of ["pct", "join-bridge"]) {
      fs.copyFileSync(source("host", program), path.join(bin, `${program}.new`));
      fs.chmodSync(path.join(bin, `${program}.new`), 0o755);
      fs.renameSync(path.join(bin, `${program}.new`), path.join(bin, program));
    }
    for (const [file, comment] of [
      ["ssh_host_ed25519_key", "lab host"],
      ["id_ed25519", "lab operator"],
    ] as const) {
      const key = path.join(this.keys, file);
      if (!fs.existsSync(key)) await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", key]);
    }
    this.write("authorized_keys", [this.publicKey("id_ed25519")]);
    this.write("known_hosts", [`${this.address} ${this.hostKey}`]);
    this.write("sshd_config", this.sshdConfiguration(home));
    this.write("ssh_config", [
      "Host *",
      `  HostName ${this.address}`,
      `  User ${this.user}`,
      `  IdentityFile ${this.privateKeyFile}`,
      "  IdentitiesOnly yes",
      `  UserKnownHostsFile ${path.join(this.keys, "known_hosts")}`,
      "  GlobalKnownHostsFile none",
      "  StrictHostKeyChecking yes",
      "  BatchMode yes",
      "  LogLevel ERROR",
    ]);
  }

  private sshdConfiguration(home: string): string[] {
    return [
      `ListenAddress ${this.address}:${this.port}`,
      `HostKey ${path.join(this.keys, "ssh_host_ed25519_key")}`,
      `AuthorizedKeysFile ${path.join(this.keys, "authorized_keys")}`,
      `PidFile ${path.join(this.directory, "run", "sshd.own.pid")}`,
      "PermitRootLogin prohibit-password",
      "PasswordAuthentication no",
      "KbdInteractiveAuthentication no",
      // Without PAM sshd refuses an account with a locked password, though it is never asked for.
      `UsePAM ${rootIsLocked() ? "yes" : "no"}`,
      "PermitUserRC no",
      "PrintLastLog no",
      "PrintMotd no",
      "UseDNS no",
      // What Debian and Proxmox ship: the operator's locale comes along.
      "AcceptEnv LANG LC_*",
      // The default drops connections at random beyond ten that have not logged in yet: no test should meet that.
      "MaxStartups 200",
      // A home of its own, so that no .bashrc of this machine runs in sessions.
      `SetEnv PATH=${this.path} HOME=${home}`,
      "Subsystem sftp internal-sftp",
    ];
  }

  private publicKey(file: string): string {
    const [type, key] = fs.readFileSync(path.join(this.keys, `${file}.pub`), "utf8").split(" ");
    return `${type ?? ""} ${key ?? ""}`.trim();
  }

  private write(file: string, lines: readonly string[]): void {
    fs.writeFileSync(path.join(this.keys, file), lines.map((line) => `${line}\n`).join(""), { mode: 0o600 });
  }
}

function rootIsLocked(): boolean {
  const line = fs
    .readFileSync("/etc/shadow", "utf8")
    .split("\n")
    .find((each) => each.startsWith("root:"));
  return line?.split(":")[1]?.startsWith("!") ?? false;
}
