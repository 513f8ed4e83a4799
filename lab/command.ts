/** Running a program: its output, its exit code, and an error that says what went wrong. */
import { spawn } from "node:child_process";
import * as fs from "node:fs";

export interface Result {
  readonly stdout: string;
  readonly stderr: string;
  /** Exit code; 128 + signal number if a signal ended the program, as a shell would say it. */
  readonly code: number;
}

export interface RunOptions {
  /** Given to the program's standard input, which is otherwise empty. */
  readonly input?: string | Buffer;
  /** The whole environment. Default: this process's. */
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Milliseconds after which the program is killed. Default: 10 minutes. */
  readonly timeout?: number;
  /** File that everything printed is appended to, for whoever has to find out why it failed. */
  readonly log?: string;
  /** Called with each line as it is printed. */
  readonly onLine?: (line: string) => void;
}

/** A program ended with another exit code than 0. */
export class CommandError extends Error {
  constructor(
    readonly argv: readonly string[],
    readonly result: Result,
    log?: string,
  ) {
    const said = (result.stderr.trim() || result.stdout.trim()).split("\n").slice(-15).join("\n");
    super(
      `${argv.slice(0, 12).join(" ")}: exit code ${result.code}\n${said}${log === undefined ? "" : `\nWhole output: ${log}`}`,
    );
    this.name = "CommandError";
  }
}

const signals: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGTERM: 15,
};

/** Runs a program (no shell) and returns what it said, whatever its exit code. Throws only if it cannot be started. */
export async function attempt(argv: readonly string[], options: RunOptions = {}): Promise<Result> {
  const [program, ...args] = argv;
  if (program === undefined) throw new Error("No program given.");
  const log = options.log === undefined ? undefined : fs.openSync(options.log, "a", 0o600);
  if (log !== undefined) fs.writeSync(log, `\n$ ${argv.join(" ")}\n`);
  try {
    return await new Promise<Result>((resolve, reject) => {
      const child = spawn(program, args, { env: options.env, cwd: options.cwd, stdio: "pipe" });
      const timeout = options.timeout ?? 600_000;
      let late = false;
      const alarm = setTimeout(() => {
        late = true;
        child.kill("SIGKILL");
      }, timeout);
      const out: Buffer[] = [];
      const err: Buffer[] = [];
      let rest = "";
      const take = (into: Buffer[]) => (chunk: Buffer) => {
        into.push(chunk);
        if (log !== undefined) fs.writeSync(log, chunk);
        if (options.onLine === undefined) return;
        const lines = (rest + chunk.toString("utf8")).split(/[\r\n]+/);
        rest = lines.pop() ?? "";
        lines.forEach(options.onLine);
      };
      child.stdout.on("data", take(out));
      child.stderr.on("data", take(err));
      child.stdin.on("error", () => undefined); // a program that reads nothing closes it: its exit code tells
      child.stdin.end(options.input ?? "");
      child.on("error", (error) => {
        clearTimeout(alarm);
        reject(new Error(`${program} cannot be started: ${error.message}`));
      });
      child.on("close", (code, signal) => {
        clearTimeout(alarm);
        const late_ = late ? `\nKilled after ${timeout / 1000} s.` : "";
        resolve({
          stdout: Buffer.concat(out).toString("utf8"),
          stderr: Buffer.concat(err).toString("utf8") + late_,
          code: code ?? 128 + (signals[signal ?? ""] ?? 0),
        });
      });
    });
  } finally {
    if (log !== undefined) fs.closeSync(log);
  }
}

/** Runs a program and returns what it said. Throws {@link CommandError} unless it ends with exit code 0. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Result> {
  const result = await attempt(argv, options);
  if (result.code !== 0) throw new CommandError(argv, result, options.log);
  return result;
}

/** Whether a program of that name is on the PATH. */
export async function installed(program: string): Promise<boolean> {
  return (await attempt(["sh", "-c", 'command -v "$1"', "sh", program])).code === 0;
}
