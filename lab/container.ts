/** A container of the lab: real, unprivileged LXC with systemd and PostgreSQL. */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { run, type Result, type RunOptions } from "./command";
import { image, type DebianRelease, type Recipe } from "./image";
import { containerAddress, prefixLength, type Network } from "./network";
import { mapping } from "./subordinateIds";
import { until } from "./waiting";

export interface ContainerOptions {
  /** Default: bookworm (systemd 252, PostgreSQL 15); trixie has systemd 257 and PostgreSQL 17. */
  readonly debian?: DebianRelease;
  /** Debian packages it has beside those of every container. Default: none. */
  readonly packages?: readonly string[];
  /**
   * Whether programs inside may mount, as Proxmox calls it. Without, systemd cannot build most of its sandboxes, as in
   * a container of a real host that was made without `nesting=1`. Debian 13 does not start then: systemd 257 mounts for
   * itself first. Default: true.
   */
  readonly nesting?: boolean;
  /** Throw away a container of that id first. Default: false, one that is there is started if need be. */
  readonly fresh?: boolean;
}

export class Container {
  private readonly directory: string;
  private readonly rootfs: string;
  readonly address: string;

  /** @param containers directory of the lab's containers, what `lxc-* -P` is given */
  constructor(
    readonly vmid: number,
    private readonly containers: string,
    private readonly network: Network,
    private readonly log: string,
  ) {
    this.address = containerAddress(vmid);
    this.directory = path.join(containers, String(vmid));
    this.rootfs = path.join(this.directory, "rootfs");
  }

  /** Whether there is a container of that id, running or not. */
  get exists(): boolean {
    return fs.existsSync(path.join(this.directory, "config"));
  }

  /** Whether its first process runs. */
  async running(): Promise<boolean> {
    if (!this.exists) return false;
    return (await this.lxc("info", ["-sH"])).stdout.trim() === "RUNNING";
  }

  /** Makes the root file system and the configuration; does not start it. Takes a few seconds. */
  async create(options: ContainerOptions = {}): Promise<void> {
    if (options.fresh === true) await this.destroy();
    if (this.exists) return;
    fs.rmSync(this.directory, { recursive: true, force: true });
    await this.unpack({ release: options.debian ?? "bookworm", packages: options.packages }, "/");
    const name = `ct${this.vmid}`;
    this.write("etc/hostname", `${name}\n`);
    this.write("etc/hosts", `127.0.0.1 localhost\n::1 localhost\n${this.address} ${name}\n`);
    // Another one each time, as a rebuilt container on a real host has.
    this.write("etc/machine-id", `${randomBytes(16).toString("hex")}\n`);
    const nesting = options.nesting !== false;
    if (!nesting) fs.writeFileSync(path.join(this.directory, "seccomp"), withoutMounting());
    // Written last: what has a configuration is whole.
    fs.writeFileSync(path.join(this.directory, "config"), this.configuration(nesting));
  }

  /** Unpacks an image into a directory of the container, running or not. */
  async unpack(recipe: Recipe, directory: string): Promise<void> {
    const tar = await image(recipe, this.log);
    const place = path.join(this.rootfs, directory);
    fs.mkdirSync(place, { recursive: true });
    await run(["tar", "--extract", "--numeric-owner", "--xattrs", "--file", tar, "--directory", place]);
  }

  private configuration(nesting: boolean): string {
    const lines = [
      "lxc.include = /usr/share/lxc/config/common.conf",
      "lxc.include = /usr/share/lxc/config/userns.conf",
      "lxc.arch = amd64",
      `lxc.uts.name = ct${this.vmid}`,
      `lxc.rootfs.path = dir:${this.rootfs}`,
      "lxc.rootfs.options = idmap=container",
      `lxc.idmap = u 0 ${mapping.first} ${mapping.count}`,
      `lxc.idmap = g 0 ${mapping.first} ${mapping.count}`,
      "lxc.apparmor.profile = unconfined",
      "lxc.net.0.type = veth",
      "lxc.net.0.name = eth0",
      "lxc.net.0.flags = up",
      `lxc.net.0.ipv4.address = ${this.address}/${prefixLength}`,
      `lxc.net.0.script.up = ${path.join(this.containers, "..", "bin", "join-bridge")}`,
      ...(nesting ? [] : [`lxc.seccomp.profile = ${path.join(this.directory, "seccomp")}`]),
    ];
    return lines.map((line) => `${line}\n`).join("");
  }

  /** Starts it, unless it runs, and waits until systemd is up and PostgreSQL answers. */
  async start(): Promise<void> {
    if (!this.exists) throw new Error(`There is no container ${this.vmid} in this lab.`);
    if (!(await this.running())) {
      await this.lxc("start", ["-d", "-o", path.join(this.directory, "lxc.log"), "-l", "INFO"], { check: true });
    }
    await this.ready();
  }

  /** Waits until systemd is up and PostgreSQL answers. */
  async ready(): Promise<void> {
    await until(
      `systemd in container ${this.vmid} is up`,
      async () => {
        const { stdout } = await this.exec(["systemctl", "is-system-running"]);
        return ["running", "degraded"].includes(stdout.trim()) ? true : undefined;
      },
      { timeout: 60_000, every: 150 },
    );
    await until(
      `PostgreSQL in container ${this.vmid} answers`,
      async () => ((await this.exec(["pg_isready", "--quiet"])).code === 0 ? true : undefined),
      { timeout: 30_000 },
    );
  }

  /**
   * Stops it: asks systemd and waits up to a minute.
   * @param hard pull the plug instead, as a crash of the host would
   */
  async stop(hard = false): Promise<void> {
    if (await this.running()) await this.lxc("stop", hard ? ["--kill"] : ["--timeout", "60"], { check: true });
  }

  /** Stops it and deletes it with all its data. */
  async destroy(): Promise<void> {
    if (this.exists) await this.stop(true);
    fs.rmSync(this.directory, { recursive: true, force: true });
  }

  /** Runs a program as the container's root, or as `user`; standard input is empty unless given. */
  exec(argv: readonly string[], options: RunOptions & { user?: string } = {}): Promise<Result> {
    const { user, ...rest } = options;
    const words = user === undefined ? argv : ["runuser", "-u", user, "--", ...argv];
    const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    const args = ["--clear-env", "--set-var", path, "--set-var", "HOME=/root", "--", ...words];
    return this.lxc("attach", args, { ...rest, cwd: "/" });
  }

  /** Directory of the control group that all of it is in: of that controller (cgroup v1), or of all of them (v2). */
  async controlGroup(controller: string): Promise<string> {
    const { stdout } = await this.lxc("info", ["-pH"], { check: true });
    const lines = fs.readFileSync(`/proc/${stdout.trim()}/cgroup`, "utf8").split("\n");
    const line =
      lines.find((each) => each.split(":")[1] === controller) ?? lines.find((each) => each.startsWith("0::"));
    const group = line?.split(":")[2]?.replace(/\/init\.scope$/, "") ?? "";
    return path.join("/sys/fs/cgroup", line?.startsWith("0::") === true ? "" : controller, group);
  }

  private async lxc(
    verb: string,
    args: readonly string[],
    options: RunOptions & { check?: boolean } = {},
  ): Promise<Result> {
    const { check, ...rest } = options;
    const argv = [`lxc-${verb}`, "-P", this.containers, "-n", String(this.vmid), ...args];
    return check === true ? this.network.run(argv, { log: this.log, ...rest }) : this.network.attempt(argv, rest);
  }

  private write(file: string, text: string): void {
    fs.writeFileSync(path.join(this.rootfs, file), text);
  }
}

/** LXC's own system call filter, and no detaching of mounts (MS_REC|MS_SLAVE), the first step of every sandbox. */
function withoutMounting(): string {
  const common = fs.readFileSync("/usr/share/lxc/config/common.seccomp", "utf8");
  return `${common.trimEnd()}\nmount errno 13 [3,0x84000,SCMP_CMP_EQ]\n`;
}
