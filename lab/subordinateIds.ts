/** The user and group ids that unprivileged containers are mapped to. */
import * as fs from "node:fs";
import * as path from "node:path";
import { root } from "./places";

/** First id, and how many: what Proxmox uses as well. */
export const mapping = { first: 100_000, count: 65_536 } as const;

const line = `root:${mapping.first}:${mapping.count}`;
const files = ["/etc/subuid", "/etc/subgid"];
const note = path.join(root, "subordinate-ids.json");

function lines(file: string): string[] {
  return fs.existsSync(file) ? fs.readFileSync(file, "utf8").split("\n") : [];
}

/** Adds the mapping to /etc/subuid and /etc/subgid where it is missing, and notes where it was added. */
export function addSubordinateIds(): void {
  const noted = fs.existsSync(note) ? (JSON.parse(fs.readFileSync(note, "utf8")) as string[]) : [];
  const absent = files.filter((file) => !lines(file).includes(line));
  if (absent.length === 0) return;
  fs.mkdirSync(root, { recursive: true });
  fs.writeFileSync(note, JSON.stringify([...new Set([...noted, ...absent])]));
  for (const file of absent) fs.appendFileSync(file, `${line}\n`);
}

/** Takes out what {@link addSubordinateIds} added. */
export function removeSubordinateIds(): void {
  if (!fs.existsSync(note)) return;
  for (const file of JSON.parse(fs.readFileSync(note, "utf8")) as string[]) {
    fs.writeFileSync(
      file,
      lines(file)
        .filter((each) => each !== line)
        .join("\n"),
    );
  }
  fs.rmSync(note);
}
