/** What a program in a container costs. */
import * as fs from "node:fs";
import * as path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CommandError } from "../lab/command";
import type { Container } from "../lab/container";

export interface Cost {
  /** From start to end, as the clock on the wall has it. */
  readonly seconds: number;
  /** Processor time of the whole container meanwhile: the program's, and the database server's for it. */
  readonly cpuSeconds: number;
  /** The same of the S3 server, which is outside the container; in runs made before 2026-11-28 not measured. */
  readonly serverCpuSeconds?: number;
  /** How long the S3 server took to make an object of parts, where it did; in runs made before 2026-11-30 not measured. */
  readonly joiningSeconds?: number;
  /** Most bytes of memory of its own (anonymous: no page cache) that the program's processes had at once. */
  readonly peakMemory: number;
}

/** Milliseconds between two looks at a program's memory. */
const LOOK_EVERY = 20;

/**
 * Runs lines of bash as a service of its own and measures it.
 * @param account operating-system account that it runs as
 * @throws CommandError unless it ends with 0
 */
export async function measure(container: Container, account: string, lines: string): Promise<Cost> {
  const unit = "pgbackup-bench.service";
  const memory = path.join(await container.controlGroup("memory"), "system.slice", unit, "memory.stat");
  const cpuBefore = await cpuSeconds(container);
  const argv = [
    ...["systemd-run", "--quiet", "--wait", "--collect", "--pipe", `--unit=${unit}`],
    ...[`--property=User=${account}`, "--property=MemoryAccounting=yes", "--working-directory=/"],
    ...["bash", "--norc", "-euo", "pipefail", "-c", lines],
  ];
  const started = performance.now();
  let running = true;
  const program = container.exec(argv, { timeout: 3_600_000 }).finally(() => (running = false));
  let peakMemory = 0;
  while (running) {
    peakMemory = Math.max(peakMemory, anonymous(memory));
    await pause(LOOK_EVERY);
  }
  const result = await program;
  const seconds = (performance.now() - started) / 1000;
  if (result.code !== 0) throw new CommandError([lines], result);
  return { seconds, cpuSeconds: (await cpuSeconds(container)) - cpuBefore, peakMemory };
}

async function cpuSeconds(container: Container): Promise<number> {
  const directory = await container.controlGroup("cpuacct");
  const usage = path.join(directory, "cpuacct.usage");
  if (fs.existsSync(usage)) return Number(fs.readFileSync(usage, "utf8")) / 1e9;
  const [, microseconds] = /^usage_usec (\d+)$/m.exec(fs.readFileSync(path.join(directory, "cpu.stat"), "utf8")) ?? [];
  return Number(microseconds) / 1e6;
}

/** Anonymous memory of a control group in bytes; 0 while there is none. */
function anonymous(file: string): number {
  try {
    const [, bytes] = /^(?:total_rss|anon) (\d+)$/m.exec(fs.readFileSync(file, "utf8")) ?? [];
    return Number(bytes ?? 0);
  } catch {
    return 0;
  }
}
