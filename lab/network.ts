/**
 * The network of one lab: a network namespace with a bridge and no way out. Whatever belongs to the lab runs inside;
 * what needs a package registry runs {@link outside}.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { attempt, run, type Result, type RunOptions } from "./command";

/** Addresses of a lab; the same in every lab, since they never meet. */
export const addresses = { host: "10.232.0.1", s3: "10.232.0.11", nas: "10.232.0.12" } as const;

/** Bits of the network part of those addresses. */
export const prefixLength = 16;

/** Name of the bridge, as on a Proxmox host. */
export const bridge = "vmbr0";

/** Address of a container. @throws if the id is not one that Proxmox would give (100 and up) or has no address here */
export function containerAddress(vmid: number): string {
  if (!Number.isInteger(vmid) || vmid < 100 || vmid > 65_000) {
    throw new Error(`A container's id is a whole number from 100 to 65000, got ${vmid}.`);
  }
  return `10.232.${Math.floor(vmid / 256)}.${vmid % 256}`;
}

/**
 * Environment variable that tells programs inside a lab's network which process, still running, is outside of it.
 * (The network of process 1 would do, but not every machine lets root look at that process.)
 */
const outsiderVariable = "PGBACKUP_LAB_OUTSIDER";

/**
 * `argv` so that it runs where the machine's own network is, wherever this process runs: for what needs a registry.
 * @throws if this process runs inside and does not know the way out
 */
export function outside(argv: readonly string[]): string[] {
  const here = fs.statSync("/proc/self/ns/net").ino;
  const names = fs.existsSync(namespaces) ? fs.readdirSync(namespaces) : [];
  const inside = names.some((name) => name.startsWith("pgbackup-") && inode(path.join(namespaces, name)) === here);
  if (!inside) return [...argv];
  const outsider = `/proc/${process.env[outsiderVariable] ?? "none"}/ns/net`;
  if (inode(outsider) === undefined) {
    throw new Error(
      `${argv[0] ?? "This"} needs a package registry, and the lab's network has no way out: npm run lab -- prepare`,
    );
  }
  return ["nsenter", `--net=${outsider}`, "--", ...argv];
}

const namespaces = "/run/netns";

function inode(file: string): number | undefined {
  try {
    return fs.statSync(file).ino;
  } catch {
    return undefined;
  }
}

export class Network {
  readonly namespace: string;
  private readonly file: string;

  constructor(lab: string) {
    this.namespace = `pgbackup-${lab}`;
    this.file = path.join(namespaces, this.namespace);
  }

  /** `argv` so that it runs inside. Not `ip netns exec`: that one mounts /sys anew, and hides the control groups. */
  inside(argv: readonly string[]): string[] {
    return ["nsenter", `--net=${this.file}`, "--", ...argv];
  }

  /** Whether this very process runs inside. */
  get here(): boolean {
    return inode(this.file) === inode("/proc/self/ns/net");
  }

  /** What programs inside must know to find the way out again; pass it on while this process lives. */
  get wayOut(): NodeJS.ProcessEnv {
    return this.here ? {} : { [outsiderVariable]: String(process.pid) };
  }

  async exists(): Promise<boolean> {
    return (await attempt(this.inside(["ip", "link", "show", bridge]))).code === 0;
  }

  /** Makes what is missing of it. */
  async up(): Promise<void> {
    if (await this.exists()) return;
    if (!fs.existsSync(this.file)) await run(["ip", "netns", "add", this.namespace]);
    await this.ip("link set lo up");
    await this.ip(`link add ${bridge} type bridge forward_delay 0`);
    for (const address of Object.values(addresses))
      await this.ip(`address add ${address}/${prefixLength} dev ${bridge}`);
    await this.ip(`link set ${bridge} up`);
  }

  /** Removes it; the processes inside must be gone. */
  async down(): Promise<void> {
    if (fs.existsSync(this.file)) await run(["ip", "netns", "delete", this.namespace]);
  }

  /** Runs a program inside, see {@link run}. */
  run(argv: readonly string[], options?: RunOptions): Promise<Result> {
    return run(this.inside(argv), options);
  }

  /** Runs a program inside, see {@link attempt}. */
  attempt(argv: readonly string[], options?: RunOptions): Promise<Result> {
    return attempt(this.inside(argv), options);
  }

  private async ip(line: string): Promise<void> {
    await this.run(["ip", ...line.split(" ")]);
  }
}
