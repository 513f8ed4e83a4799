/** The root file system that containers start from: Debian with systemd and PostgreSQL, made once and cached. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { run } from "./command";
import { outside } from "./network";
import { cache } from "./places";
import { locked } from "./waiting";

export type DebianRelease = "bookworm" | "trixie";

const packages = [
  ...["systemd-sysv", "dbus", "postgresql", "sudo", "curl", "jq", "ca-certificates", "iproute2", "procps"],
  ...["openssh-client", "rsync", "age", "tzdata"],
];

const options = [
  "--mode=root",
  "--variant=minbase",
  '--aptopt=APT::Install-Recommends "false"',
  '--aptopt=Acquire::Languages "none"',
  ...["doc", "man", "info", "locale", "lintian", "bug"].map((part) => `--dpkgopt=path-exclude=/usr/share/${part}/*`),
  // What a container has no use for, and what would only slow its start.
  "--customize-hook=chroot $1 systemctl mask --quiet systemd-networkd-wait-online.service apt-daily.timer " +
    "apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer getty.target console-getty.service sys-kernel-debug.mount sys-kernel-tracing.mount",
];

export interface Recipe {
  readonly release: DebianRelease;
  /** Names of packages beside those that every container has. */
  readonly packages?: readonly string[] | undefined;
}

function allOptions({ packages: more = [] }: Recipe): string[] {
  return [...options, `--include=${[...packages, ...more].join(",")}`];
}

function file(recipe: Recipe): string {
  const digest = createHash("sha256")
    .update(JSON.stringify([recipe.release, allOptions(recipe)]))
    .digest("hex")
    .slice(0, 12);
  return path.join(cache, `debian-${recipe.release}-${digest}.tar`);
}

/** Whether the image is in the cache. */
export function imageIsCached(recipe: Recipe): boolean {
  return fs.existsSync(file(recipe));
}

/**
 * The image as a tar file, built if its recipe is new (40 s).
 * @param log file for what mmdebstrap says
 */
export async function image(recipe: Recipe, log?: string): Promise<string> {
  const tar = file(recipe);
  if (fs.existsSync(tar)) return tar;
  return locked(`${tar}.lock`, async () => {
    if (fs.existsSync(tar)) return tar;
    const partial = `${tar}.partial`;
    fs.rmSync(partial, { force: true });
    await run(outside(["mmdebstrap", ...allOptions(recipe), "--format=tar", recipe.release, partial]), {
      log,
      // The locale is the one PostgreSQL's cluster gets.
      env: { ...process.env, TMPDIR: cache, LC_ALL: "C.UTF-8" },
    });
    fs.renameSync(partial, tar);
    return tar;
  });
}
