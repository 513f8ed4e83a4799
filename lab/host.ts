/** The Proxmox host of a lab: a real sshd with keys of its own, and `pct` on the PATH of its sessions. */
import * as fs from "node:fs";
import * as path from "node:path";
import { attempt, run, type Result, type RunOptions } from "./command";
import { addresses, type Network } from "./network";
import { source } from "./places";
import { SshServer } from "./sshServer";

export class Host {
  readonly address = addresses.host;
  readonly user = "root";
  /** PATH of the host's sessions: `pct` of this lab first. */
  readonly path: string;
  private readonly server: SshServer;

  constructor(
    private readonly directory: string,
    private readonly network: Network,
  ) {
    this.path = `${path.join(directory, "bin")}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
    this.server = new SshServer(directory, network, {
      name: "sshd",
      title: "host",
      address: this.address,
      keys: path.join(directory, "host"),
      environment: { PATH: this.path, HOME: this.home },
      rootLogin: "prohibit-password",
    });
  }

  get port(): number {
    return this.server.port;
  }

  /** The key the host shows, `ssh-ed25519 AAAA…`, as in its ssh_host_ed25519_key.pub without the comment. */
  get hostKey(): string {
    return this.server.hostKey;
  }

  /** The key that may log in, OpenSSH format. */
  get privateKey(): string {
    return this.server.privateKey;
  }

  get privateKeyFile(): string {
    return this.server.privateKeyFile;
  }

  /** Configuration with which `ssh -F <file> host` and `ssh -F <file> root@10.232.0.1` log in. */
  get sshConfig(): string {
    return this.server.file("ssh_config");
  }

  get running(): boolean {
    return this.server.running;
  }

  /** Starts sshd, unless it runs, and waits until it answers. */
  async up(): Promise<void> {
    this.install();
    await this.server.up();
    this.server.write("ssh_config", [
      "Host *",
      `  HostName ${this.address}`,
      `  User ${this.user}`,
      `  IdentityFile ${this.privateKeyFile}`,
      "  IdentitiesOnly yes",
      `  UserKnownHostsFile ${this.server.file("known_hosts")}`,
      "  GlobalKnownHostsFile none",
      "  StrictHostKeyChecking yes",
      "  BatchMode yes",
      "  LogLevel ERROR",
    ]);
    await run(this.network.inside(["ssh", "-F", this.sshConfig, "host", "true"]));
  }

  async down(): Promise<void> {
    await this.server.down();
  }

  /** Types a line on the host: a real SSH session, the line read by the login shell. */
  ssh(line: string, options: RunOptions = {}): Promise<Result> {
    return attempt(this.network.inside(["ssh", "-F", this.sshConfig, "host", line]), options);
  }

  private get home(): string {
    return path.join(this.directory, "home");
  }

  /** Puts pct in its place, and what containers' networks need. */
  private install(): void {
    const bin = path.join(this.directory, "bin");
    for (const each of [bin, this.home]) fs.mkdirSync(each, { recursive: true });
    for (const program of ["pct", "join-bridge"]) {
      fs.copyFileSync(source("host", program), path.join(bin, `${program}.new`));
      fs.chmodSync(path.join(bin, `${program}.new`), 0o755);
      fs.renameSync(path.join(bin, `${program}.new`), path.join(bin, program));
    }
  }
}
