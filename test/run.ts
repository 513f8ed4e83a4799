/**
 * Runs the tests, floor by floor, and adds up what the runners counted: `npm test [-- FLOOR…]`.
 *
 *   unit     pure functions and the program's own logic
 *   scripts  what runs in the container, against a real PostgreSQL
 *   lab      everything, through the real engine, on a Proxmox host in miniature: the lab that PGBACKUP_LAB names,
 *            "test" by default
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(__dirname, "..");
const node = [process.execPath, "-r", "ts-node/register/transpile-only"];
const lab = [...node, join(root, "lab", "cli.ts")];
const mocha = (floor: string) => [
  ...[process.execPath, join(root, "node_modules", "mocha", "bin", "mocha.js")],
  ...["--reporter", join(root, "test", "reporter.cjs"), `test/${floor}/**/*.test.ts`],
];

/** What runs a floor's tests. */
const floors: Readonly<Record<string, readonly string[]>> = {
  unit: mocha("unit"),
  scripts: [...lab, "prepared", "--", ...mocha("scripts")],
  lab: [...lab, "exec", process.env.PGBACKUP_LAB ?? "test", "--", ...mocha("lab")],
};

interface Counts {
  readonly passed: number;
  readonly failed: number;
}

/** Runs a floor. A runner that ends without having counted is a failure of its own. */
function run(floor: string, [program = "", ...args]: readonly string[], file: string): Counts {
  console.log(`\n${floor}`);
  writeFileSync(file, "");
  const { status } = spawnSync(program, args, { cwd: root, stdio: "inherit", env: { ...process.env, COUNTS: file } });
  const line = readFileSync(file, "utf8").trim();
  const counts = line === "" ? { passed: 0, failed: 0 } : (JSON.parse(line) as Counts);
  return status !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((floor) => !(floor in floors));
if (unknown.length > 0) {
  console.error(`There is no floor ${unknown.join(", ")}; there are ${Object.keys(floors).join(", ")}.`);
  process.exit(2);
}
const directory = mkdtempSync(join(tmpdir(), "pgbackup-counts-"));
const results = Object.entries(floors)
  .filter(([floor]) => wanted.length === 0 || wanted.includes(floor))
  .map(([floor, command]) => run(floor, command, join(directory, floor)));
rmSync(directory, { recursive: true });

const passed = results.reduce((sum, counts) => sum + counts.passed, 0);
const failed = results.reduce((sum, counts) => sum + counts.failed, 0);
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
