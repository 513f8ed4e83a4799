/** Removing everything the labs made on this machine. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { run } from "./command";
import { removeDebianPackages } from "./debianPackages";
import { Lab } from "./lab";
import { cache, root } from "./places";
import { removeSubordinateIds } from "./subordinateIds";

/**
 * Ends all labs and removes their files; without `keepCache` also the cache, the Debian packages with their
 * accounts, and the lines in /etc/subuid and /etc/subgid that were added. The repository's own files stay, Pulumi.lab.yaml too.
 */
export async function down({ keepCache }: { readonly keepCache: boolean }): Promise<void> {
  for (const name of Lab.names()) {
    await Lab.at(name).down();
    console.log(`Removed the lab "${name}": its processes, containers, network and files.`);
  }
  if (keepCache || !fs.existsSync(root)) return;
  removeSubordinateIds();
  const log = path.join(os.tmpdir(), `pgbackup-lab-down-${process.pid}.log`);
  const packages = await removeDebianPackages(log);
  fs.rmSync(log, { force: true });
  if (packages.length > 0) console.log(`Removed the Debian packages the lab had installed: ${packages.join(" ")}`);
  await removeEmptyNamespaceDirectory();
  fs.rmSync(path.join("/run/lxc/lock", root), { recursive: true, force: true });
  removeEmptyDirectories(path.join("/run/lxc/lock", path.dirname(root)));
  fs.rmSync(cache, { recursive: true, force: true });
  fs.rmSync(root, { recursive: true, force: true });
  console.log(`Removed ${root} with its cache. Nothing of the lab is left on this machine.`);
}

/** Removes a directory that LXC made for its locks, and its parents up to /run/lxc, as far as they are empty. */
function removeEmptyDirectories(directory: string): void {
  for (let place = directory; place.startsWith("/run/lxc"); place = path.dirname(place)) {
    if (!fs.existsSync(place)) continue;
    if (fs.readdirSync(place).length > 0) return;
    fs.rmdirSync(place);
  }
}

/** `ip netns add` makes this directory a mount point when it makes the first namespace, and nobody unmakes it. */
async function removeEmptyNamespaceDirectory(): Promise<void> {
  const directory = "/run/netns";
  if (!fs.existsSync(directory) || fs.readdirSync(directory).length > 0) return;
  const mounted = fs.readFileSync("/proc/self/mounts", "utf8").includes(` ${directory} `);
  if (mounted) await run(["umount", directory]);
  fs.rmdirSync(directory);
}
