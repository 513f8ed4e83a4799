/**
 * A Proxmox host in miniature on this machine: a stand-in for trying and testing the package, never part of it.
 *
 * All of a lab lives in one sealed network. `Lab.up`, `exec`, `pct` and the other programs it starts enter it by
 * themselves; a Node process that is to open connections of its own (S3 clients, the Pulumi program) must run inside,
 * which `npm run lab -- exec <lab> -- COMMAND` sees to.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { run, type Result, type RunOptions } from "./command";
import { Container, type ContainerOptions } from "./container";
import { Host } from "./host";
import { Nas } from "./nas";
import { Network } from "./network";
import { cache, labDirectory, root } from "./places";
import { pluginsInUse, type Plugins } from "./plugins";
import { prepare } from "./prepare";
import { S3 } from "./s3";
import { S3Gateway } from "./s3Gateway";
import { createSampleDatabase, type SampleDatabase } from "./sampleDatabase";
import type { Settings } from "./settings";
import { LabStack, type StackOptions } from "./stack";
import { addSubordinateIds } from "./subordinateIds";
import { locked } from "./waiting";

export class Lab {
  readonly directory: string;
  readonly network: Network;
  readonly host: Host;
  readonly s3: S3;
  /** For who measures; not up unless they start it. */
  readonly s3Gateway: S3Gateway;
  readonly nas: Nas;

  private constructor(readonly name: string) {
    this.directory = labDirectory(name);
    this.network = new Network(name);
    this.host = new Host(this.directory, this.network);
    this.s3 = new S3(this.directory, this.network);
    this.s3Gateway = new S3Gateway(this.directory, this.network, this.s3);
    this.nas = new Nas(this.directory, this.network);
  }

  /** The lab of that name, whether it is up or not. */
  static at(name: string): Lab {
    return new Lab(name);
  }

  /**
   * Network, host, S3 and NAS of that lab, and what they need (`prepare`), whatever is missing of it. May run inside its
   * network or outside. Containers are made and started by whoever needs them.
   */
  static async up(name: string): Promise<Lab> {
    const lab = new Lab(name);
    await prepare();
    await locked(path.join(cache, `${name}.lock`), async () => {
      fs.mkdirSync(path.join(lab.directory, "log"), { recursive: true });
      for (const each of [root, lab.directory]) fs.chmodSync(each, 0o755);
      fs.mkdirSync(lab.containers, { recursive: true });
      await locked(path.join(cache, "subordinate-ids.lock"), async () => addSubordinateIds());
      await lab.network.up();
      await Promise.all([lab.host.up(), lab.s3.up(lab.logFile("s3-install")), lab.nas.up()]);
    });
    return lab;
  }

  /** Attaches to a lab that is up. @throws if it is not */
  static async open(name: string): Promise<Lab> {
    const lab = new Lab(name);
    if (!(await lab.network.exists()) || !lab.host.running || !lab.s3.running || !lab.nas.running) {
      throw new Error(`The lab "${name}" is not up. Start it with: npm run lab -- exec ${name} -- true`);
    }
    return lab;
  }

  /** Names of the labs that have left anything on this machine. */
  static names(): string[] {
    if (!fs.existsSync(root)) return [];
    const entries = fs.readdirSync(root, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory() && entry.name !== "cache").map((entry) => entry.name);
  }

  /** Ends what it started, by the ids of its processes, and removes its containers, its network and its files. */
  async down(): Promise<void> {
    if (fs.existsSync(this.containers)) {
      for (const vmid of this.vmids()) await this.container(vmid).destroy();
    }
    await Promise.all([this.host.down(), this.s3.down(), this.s3Gateway.down(), this.nas.down()]);
    await this.network.down();
    fs.rmSync(path.join("/run/lxc/lock", this.containers), { recursive: true, force: true });
    fs.rmSync(this.directory, { recursive: true, force: true });
  }

  /** File in the lab's directory that a step writes its output to. */
  logFile(step: string): string {
    return path.join(this.directory, "log", `${step}.log`);
  }

  /** Ids of the containers, running or not. */
  vmids(): number[] {
    return fs.readdirSync(this.containers).map(Number).filter(Number.isInteger);
  }

  container(vmid: number): Container {
    return new Container(vmid, this.containers, this.network, this.logFile("lxc"));
  }

  /** Makes a container, starts it and waits until systemd is up and PostgreSQL answers. What is there is kept. */
  async createContainer(vmid: number, options?: ContainerOptions): Promise<Container> {
    const container = this.container(vmid);
    await container.create(options);
    await container.start();
    return container;
  }

  /** Starts a container and waits until PostgreSQL answers. */
  async startContainer(vmid: number): Promise<void> {
    await this.container(vmid).start();
  }

  /** Stops a container. @param hard as a power cut would */
  async stopContainer(vmid: number, hard = false): Promise<void> {
    await this.container(vmid).stop(hard);
  }

  /** Stops a container in good order, starts it and waits until PostgreSQL answers. */
  async rebootContainer(vmid: number): Promise<void> {
    await this.stopContainer(vmid);
    await this.startContainer(vmid);
  }

  async destroyContainer(vmid: number): Promise<void> {
    await this.container(vmid).destroy();
  }

  /** Runs a program in a container by lxc-attach, without SSH and pct: what a test looks at things with. */
  exec(vmid: number, argv: readonly string[], options?: RunOptions & { user?: string }): Promise<Result> {
    return this.container(vmid).exec(argv, options);
  }

  /** Types a line on the host, through real SSH, as an operator would, e.g. `pct exec 2320 -- date`. */
  pct(line: string, options?: RunOptions): Promise<Result> {
    return this.host.ssh(line, options);
  }

  /** Makes the database with users, events and expenses, unless it is there. Takes a few seconds. */
  createSampleDatabase(vmid: number, database: SampleDatabase): Promise<void> {
    return createSampleDatabase(this.container(vmid), database);
  }

  /** A stack that deploys to this lab; see `settingsFor` for its settings. Only inside the lab's network. */
  stack(name: string, settings: Settings, options?: StackOptions): LabStack {
    return new LabStack(this, name, settings, options);
  }

  /** Which provider plugins the lab's engine uses: the official ones or stand-ins. */
  get plugins(): Plugins {
    return pluginsInUse();
  }

  /** Runs a program inside the lab's network, see {@link run}. */
  run(argv: readonly string[], options?: RunOptions): Promise<Result> {
    return run(this.network.inside(argv), options);
  }

  private get containers(): string {
    return path.join(this.directory, "lxc");
  }
}
