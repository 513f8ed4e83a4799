/** The NAS of a lab: a second sshd, whose one key may do nothing but rsync into one directory. */
import * as fs from "node:fs";
import * as path from "node:path";
import { addresses, type Network } from "./network";
import { SshServer } from "./sshServer";

export class Nas {
  readonly address = addresses.nas;
  readonly user = "root";
  /** What the account sees as `/`. */
  readonly directory: string;
  readonly server: SshServer;

  /** @param lab directory of the lab */
  constructor(lab: string, network: Network) {
    const place = path.join(lab, "nas");
    this.directory = path.join(place, "copies");
    this.server = new SshServer(lab, network, {
      name: "nas",
      title: "NAS",
      address: this.address,
      keys: path.join(place, "ssh"),
      environment: { PATH: "/usr/bin:/bin", HOME: place },
      rootLogin: "forced-commands-only",
      // Two databases, and two containers, may be at it at once.
      keyOptions: `restrict,command="/usr/bin/rrsync -no-lock ${this.directory}"`,
    });
  }

  get running(): boolean {
    return this.server.running;
  }

  async up(): Promise<void> {
    fs.mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    await this.server.up();
  }

  async down(): Promise<void> {
    await this.server.down();
  }

  /** Where a path that the account names is on this machine. */
  file(...parts: string[]): string {
    return path.join(this.directory, ...parts);
  }

  /** Names of the files that the account sees in a directory, e.g. /ct2320, sorted; none if it is not there. */
  list(directory: string): string[] {
    const place = this.file(directory);
    return fs.existsSync(place) ? fs.readdirSync(place).sort() : [];
  }
}
