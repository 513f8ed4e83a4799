/**
 * Servers of every version of PostgreSQL that is supported, for tests, where Debian has but one. They come from npm, but
 * are no dependencies of the package: 350 MB, and installable on nothing but Linux.
 */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { run } from "./command";
import { outside } from "./network";
import { cache, source } from "./places";
import { locked } from "./waiting";

export const postgresVersions = [13, 14, 15, 16, 17, 18] as const;

export type PostgresVersion = (typeof postgresVersions)[number];

const recipe = ["package.json", "package-lock.json"].map((name) => source("postgres", name));

function directory(): string {
  const hash = createHash("sha256");
  for (const file of recipe) hash.update(fs.readFileSync(file));
  return path.join(cache, `postgres-${hash.digest("hex").slice(0, 12)}`);
}

/** Directory of a server's programs (initdb, pg_ctl, postgres), all of them fetched if their recipe is new (10 s). */
export async function postgresServer(version: PostgresVersion): Promise<string> {
  const servers = directory();
  const bin = path.join(servers, "node_modules", `postgres${version}`, "native", "bin");
  if (fs.existsSync(servers)) return bin;
  return locked(`${servers}.lock`, async () => {
    if (fs.existsSync(servers)) return bin;
    const partial = `${servers}.partial`;
    fs.rmSync(partial, { recursive: true, force: true });
    fs.mkdirSync(partial, { recursive: true });
    for (const file of recipe) fs.copyFileSync(file, path.join(partial, path.basename(file)));
    await run(outside(["npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit"]), { cwd: partial });
    for (const each of postgresVersions) linkLibraries(path.join(partial, "node_modules", `postgres${each}`));
    fs.renameSync(partial, servers);
    return bin;
  });
}

/** npm packs no symbolic links: the package lists them, and its own script is one that newer npm does not run. */
function linkLibraries(folder: string): void {
  const list = fs.readFileSync(path.join(folder, "native", "pg-symlinks.json"), "utf8");
  for (const { source: file, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const link = path.join(folder, target);
    fs.symlinkSync(path.relative(path.dirname(link), path.join(folder, file)), link);
  }
}
