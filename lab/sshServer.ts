/** A real sshd of a lab: at an address of its own, with keys of its own, for one client's key. */
import * as fs from "node:fs";
import * as path from "node:path";
import { run } from "./command";
import { Daemon } from "./daemon";
import type { Network } from "./network";
import { until } from "./waiting";

export interface SshServerOptions {
  /** What its log is called. */
  readonly name: string;
  readonly address: string;
  /** Directory of its keys and configuration, and of the client's key. */
  readonly keys: string;
  /** Who it is, in the comment of its key. */
  readonly title: string;
  /** PATH and HOME of sessions. */
  readonly environment: Readonly<Record<"PATH" | "HOME", string>>;
  /** How root may log in: a value of PermitRootLogin. */
  readonly rootLogin: "prohibit-password" | "forced-commands-only";
  /** Options in front of the client's key in authorized_keys. */
  readonly keyOptions?: string;
}

export class SshServer {
  readonly port = 22;
  private readonly daemon: Daemon;

  constructor(
    private readonly directory: string,
    private readonly network: Network,
    private readonly options: SshServerOptions,
  ) {
    this.daemon = new Daemon(options.name, directory);
  }

  /** The key it shows, `ssh-ed25519 AAAA…`, as in its ssh_host_ed25519_key.pub without the comment. */
  get hostKey(): string {
    return this.publicKey("ssh_host_ed25519_key");
  }

  /** File of the key that may log in, OpenSSH format. */
  get privateKeyFile(): string {
    return this.file("id_ed25519");
  }

  get privateKey(): string {
    return fs.readFileSync(this.privateKeyFile, "utf8");
  }

  get running(): boolean {
    return this.daemon.pid !== undefined;
  }

  /** Writes keys and configuration where they are missing or of an older lab, and starts it unless it runs. */
  async up(): Promise<void> {
    await this.install();
    if (this.running) return;
    fs.mkdirSync("/run/sshd", { recursive: true, mode: 0o755 }); // sshd wants this empty directory, and made it root's
    const config = this.file("sshd_config");
    await run(["/usr/sbin/sshd", "-t", "-f", config]);
    this.daemon.start(this.network.inside(["/usr/sbin/sshd", "-D", "-e", "-f", config]), {
      PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    });
    const { title, address } = this.options;
    await until(
      `${title}'s sshd shows its key`,
      async () => {
        if (!this.running) throw new Error(this.daemon.lastWords());
        const scan = await this.network.attempt(["ssh-keyscan", "-t", "ed25519", "-p", String(this.port), address]);
        return scan.stdout.includes(this.hostKey) ? true : undefined;
      },
      { timeout: 15_000 },
    );
  }

  async down(): Promise<void> {
    await this.daemon.stop();
  }

  /** Gives it another key to show, as a new installation has. */
  async changeHostKey(): Promise<void> {
    await this.down();
    for (const suffix of ["", ".pub"]) fs.rmSync(this.file(`ssh_host_ed25519_key${suffix}`));
    await this.up();
  }

  /** A file of its keys and configuration. */
  file(name: string): string {
    return path.join(this.options.keys, name);
  }

  /** Writes such a file. */
  write(name: string, lines: readonly string[]): void {
    fs.writeFileSync(this.file(name), lines.map((line) => `${line}\n`).join(""), { mode: 0o600 });
  }

  private async install(): Promise<void> {
    const { keys, title, keyOptions, address } = this.options;
    fs.mkdirSync(keys, { recursive: true });
    fs.chmodSync(keys, 0o700);
    for (const [name, comment] of [
      ["ssh_host_ed25519_key", `lab ${title}`],
      ["id_ed25519", "lab operator"],
    ] as const) {
      const key = this.file(name);
      if (!fs.existsSync(key)) await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", key]);
    }
    this.write("authorized_keys", [[keyOptions, this.publicKey("id_ed25519")].filter(Boolean).join(" ")]);
    this.write("known_hosts", [`${address} ${this.hostKey}`]);
    this.write("sshd_config", this.configuration());
  }

  private configuration(): string[] {
    const { name, address, rootLogin, environment } = this.options;
    return [
      `ListenAddress ${address}:${this.port}`,
      `HostKey ${this.file("ssh_host_ed25519_key")}`,
      `AuthorizedKeysFile ${this.file("authorized_keys")}`,
      `PidFile ${path.join(this.directory, "run", `${name}.own.pid`)}`,
      `PermitRootLogin ${rootLogin}`,
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
      `SetEnv PATH=${environment.PATH} HOME=${environment.HOME}`,
      "Subsystem sftp internal-sftp",
    ];
  }

  private publicKey(name: string): string {
    const [type, key] = fs.readFileSync(this.file(`${name}.pub`), "utf8").split(" ");
    return `${type ?? ""} ${key ?? ""}`.trim();
  }
}

function rootIsLocked(): boolean {
  const line = fs
    .readFileSync("/etc/shadow", "utf8")
    .split("\n")
    .find((each) => each.startsWith("root:"));
  return line?.split(":")[1]?.startsWith("!") ?? false;
}
