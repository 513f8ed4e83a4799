/** Where the lab keeps things on this machine. Everything it makes lies below {@link root}. */
import * as path from "node:path";

/** Directory of everything the lab makes; `npm run lab:down` removes it. */
export const root = "/var/lib/pgbackup-lab";

/** What is expensive to make and shared by all labs: engine, root file systems, Python environment. */
export const cache = path.join(root, "cache");

/** The repository this file belongs to. */
export const repository = path.resolve(__dirname, "..");

/** Files that belong to the lab's sources, e.g. `source("host", "pct")`. */
export function source(...parts: string[]): string {
  return path.join(__dirname, ...parts);
}

/**
 * Directory of one lab.
 * @throws if the name could not be a directory and part of a network namespace's name
 */
export function labDirectory(name: string): string {
  if (!/^[a-z][a-z0-9]{0,11}$/.test(name) || name === "cache") {
    throw new Error(`A lab's name is 1 to 12 of a-z and 0-9, beginning with a letter, and not "cache": got "${name}".`);
  }
  return path.join(root, name);
}
