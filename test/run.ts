/**
 * Runs the tests, floor by floor, and adds up what the runners counted: `npm test [-- FLOOR…]`.
 *
 *   unit     pure functions and the program's own logic
 *   scripts  what runs in the container, against a real PostgreSQL; two halves side by side
 *   lab      everything, through the real engine, on two Proxmox hosts in miniature side by side, each with half of the
 *            files. PGBACKUP_LAB names the first lab, "test" by default; the other is "<first>2"
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const root = join(__dirname, "..");
const labName = process.env.PGBACKUP_LAB ?? "test";
const lab = [process.execPath, "-r", "ts-node/register/transpile-only", join(root, "lab", "cli.ts")];

/** One process that runs tests. */
type Runner = readonly string[];

function mocha(files: readonly string[]): Runner {
  const program = join(root, "node_modules", "mocha", "bin", "mocha.js");
  return [process.execPath, program, "--reporter", join(root, "test", "reporter.cjs"), ...files];
}

function testFiles(floor: string): string[] {
  const all = readdirSync(join(root, "test", floor), { recursive: true, encoding: "utf8" });
  const tests = all.filter((file) => file.endsWith(".test.ts")).sort();
  return tests.map((file) => join("test", floor, file));
}

/** Bytes of a test; one with a folder of its own has its cases there. */
function sizeOf(file: string): number {
  const folder = dirname(file);
  const alone = dirname(folder) === "test";
  const files = alone ? [file] : readdirSync(join(root, folder)).map((name) => join(folder, name));
  return files.reduce((sum, each) => sum + statSync(join(root, each)).size, 0);
}

/** Two lists of about the same length in bytes, which stands for the time they take. */
function halve(files: readonly string[]): string[][] {
  const halves = [
    { size: 0, files: [] as string[] },
    { size: 0, files: [] as string[] },
  ];
  const sized = files.map((file) => ({ file, size: sizeOf(file) }));
  for (const { file, size } of sized.sort((a, b) => b.size - a.size)) {
    const [smaller] = halves.sort((a, b) => a.size - b.size);
    smaller?.files.push(file);
    if (smaller) smaller.size += size;
  }
  return halves.map((half) => half.files.sort());
}

/** What runs a floor's tests, side by side. */
const floors: Readonly<Record<string, readonly Runner[]>> = {
  unit: [mocha(testFiles("unit"))],
  scripts: halve(testFiles("scripts")).map((files) => [...lab, "prepared", "--", ...mocha(files)]),
  lab: halve(testFiles("lab")).map((files, index) => [
    ...[...lab, "exec", index === 0 ? labName : `${labName}${index + 1}`, "--"],
    ...mocha(files),
  ]),
};

interface Counts {
  readonly passed: number;
  /** What failed, each with its reason. */
  readonly failed: readonly string[];
}

/** Runs tests to their end. A runner that ends without having counted is a failure of its own. */
async function run([program = "", ...args]: Runner, file: string, quiet: boolean): Promise<Counts> {
  writeFileSync(file, "");
  const output = quiet ? "pipe" : "inherit";
  const child = spawn(program, args, {
    cwd: root,
    stdio: ["inherit", output, output],
    env: { ...process.env, COUNTS: file },
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text: Buffer) => (said += text.toString()));
  const status = await new Promise<number | null>((resolve, reject) => child.on("error", reject).on("close", resolve));
  process.stdout.write(said);
  const line = readFileSync(file, "utf8").trim();
  const counts = line === "" ? { passed: 0, failed: [] } : (JSON.parse(line) as Counts);
  const uncounted = [`${[program, ...args].join(" ")}\nended with ${status ?? "a signal"}, and no test says why`];
  return status !== 0 && counts.failed.length === 0 ? { ...counts, failed: uncounted } : counts;
}

/** Runs a floor: the first runner is seen at work, what another prints comes when it has ended. */
async function runFloor(floor: string, directory: string): Promise<Counts[]> {
  console.log(`\n${floor}`);
  const runners = floors[floor] ?? [];
  return Promise.all(runners.map((runner, index) => run(runner, join(directory, `${floor}-${index}`), index > 0)));
}

async function main(wanted: readonly string[]): Promise<number> {
  const unknown = wanted.filter((floor) => !(floor in floors));
  if (unknown.length > 0) {
    console.error(`There is no floor ${unknown.join(", ")}; there are ${Object.keys(floors).join(", ")}.`);
    return 2;
  }
  const directory = mkdtempSync(join(tmpdir(), "pgbackup-counts-"));
  const results: Counts[] = [];
  for (const floor of Object.keys(floors).filter((each) => wanted.length === 0 || wanted.includes(each))) {
    results.push(...(await runFloor(floor, directory)));
  }
  rmSync(directory, { recursive: true });
  const passed = results.reduce((sum, counts) => sum + counts.passed, 0);
  const failed = results.flatMap((counts) => counts.failed);
  for (const failure of failed) console.log(`\nfailed: ${failure}`);
  console.log(`\n${passed} passed, ${failed.length} failed`);
  return failed.length === 0 && passed > 0 ? 0 : 1;
}

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
