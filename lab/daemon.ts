/** A long-running program of a lab: started once, found again by process id and start time, ended by them only. */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { until } from "./waiting";

interface Mark {
  readonly pid: number;
  /** Clock ticks after boot at which the process started: with the id it names one process, also after ids wrap. */
  readonly started: string;
}

interface Status {
  readonly parent: number;
  readonly started: string;
  readonly zombie: boolean;
  /** Clock ticks of processor time that it has taken, its threads included. */
  readonly ticks: number;
}

/** Clock ticks a second, as /proc counts them: USER_HZ, the same on every machine with Debian's kernel. */
const ticksPerSecond = 100;

/** What /proc says of a process; `undefined` if there is none. */
function statusOf(pid: number): Status | undefined {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field, the program's name in parentheses, may hold anything: count from its end.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const ticks = Number(fields[11]) + Number(fields[12]);
    return { zombie: fields[0] === "Z", parent: Number(fields[1]), started: fields[19] ?? "", ticks };
  } catch {
    return undefined;
  }
}

export class Daemon {
  private readonly file: string;
  /** What it prints. */
  readonly log: string;

  /** @param directory of the lab; the process is noted in `run/<name>.pid`, its output goes to `log/<name>.log` */
  constructor(
    readonly name: string,
    directory: string,
  ) {
    this.file = path.join(directory, "run", `${name}.pid`);
    this.log = path.join(directory, "log", `${name}.log`);
  }

  /** The id of the process, `undefined` if it does not run. */
  get pid(): number | undefined {
    if (!fs.existsSync(this.file)) return undefined;
    const mark = JSON.parse(fs.readFileSync(this.file, "utf8")) as Mark;
    const status = statusOf(mark.pid);
    return status !== undefined && !status.zombie && status.started === mark.started ? mark.pid : undefined;
  }

  /** Seconds of processor time that it has taken so far; 0 if it does not run. */
  get cpuSeconds(): number {
    const pid = this.pid;
    return (pid === undefined ? 0 : (statusOf(pid)?.ticks ?? 0)) / ticksPerSecond;
  }

  /** Starts the program in a session of its own, so that it outlives this one. */
  start(argv: readonly string[], env: NodeJS.ProcessEnv): void {
    const [program, ...args] = argv;
    if (program === undefined) throw new Error("No program given.");
    fs.mkdirSync(path.dirname(this.file), { recursive: true });
    fs.mkdirSync(path.dirname(this.log), { recursive: true });
    const output = fs.openSync(this.log, "a", 0o600);
    const child = spawn(program, args, { detached: true, cwd: "/", env, stdio: ["ignore", output, output] });
    fs.closeSync(output);
    child.on("error", () => undefined); // told by the pid below
    child.unref();
    const status = child.pid === undefined ? undefined : statusOf(child.pid);
    if (child.pid === undefined || status === undefined) throw new Error(`${program} cannot be started.`);
    const mark: Mark = { pid: child.pid, started: status.started };
    fs.writeFileSync(this.file, JSON.stringify(mark));
  }

  /** The last lines it printed, for an error message. */
  lastWords(): string {
    if (!fs.existsSync(this.log)) return "";
    return fs.readFileSync(this.log, "utf8").trim().split("\n").slice(-10).join("\n");
  }

  /** Ends it and what it started, asking first. */
  async stop(): Promise<void> {
    const pid = this.pid;
    if (pid !== undefined) {
      const family = [pid, ...descendants(pid)].map((id) => ({ id, started: statusOf(id)?.started }));
      const alive = () => family.filter(({ id, started }) => isSame(id, started));
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        for (const { id } of alive()) kill(id, signal);
        const gone = await until(`${this.name} ends`, () => (alive().length === 0 ? true : undefined), {
          timeout: 5_000,
        }).catch(() => false);
        if (gone) break;
      }
    }
    fs.rmSync(this.file, { force: true });
  }
}

function isSame(pid: number, started: string | undefined): boolean {
  const status = statusOf(pid);
  return status !== undefined && !status.zombie && status.started === started;
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Ids of the processes that a process started, and that those started. */
function descendants(pid: number): number[] {
  const parents = new Map<number, number[]>();
  for (const entry of fs.readdirSync("/proc")) {
    const status = /^\d+$/.test(entry) ? statusOf(Number(entry)) : undefined;
    if (status !== undefined) parents.set(status.parent, [...(parents.get(status.parent) ?? []), Number(entry)]);
  }
  const below = (id: number): number[] => (parents.get(id) ?? []).flatMap((child) => [child, ...below(child)]);
  return below(pid);
}
