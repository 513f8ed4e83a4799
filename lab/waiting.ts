/** Waiting for something to become true, never longer than said; and locks between processes. */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Asks until the answer is not `undefined`, and returns it.
 * @param what completes the sentence "… within 120 s", e.g. "PostgreSQL in container 2320 answers"
 * @param timeout milliseconds; `every` is the pause between two questions
 * @throws when the time is over, with the last error the question ended in, if any
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined> | T | undefined,
  { timeout = 120_000, every = 100 }: { timeout?: number; every?: number } = {},
): Promise<T> {
  const end = Date.now() + timeout;
  let last = "";
  do {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      last = `: ${String(error)}`;
    }
    await sleep(every);
  } while (Date.now() < end);
  throw new Error(`Expected within ${timeout / 1000} s, but did not happen: ${what}${last}`);
}

/**
 * Does `work` while no other process holds the lock of that file. The lock is the kernel's (flock), so a crashed
 * holder leaves nothing behind.
 * @param timeout seconds to wait for the lock
 */
export async function locked<T>(file: string, work: () => Promise<T>, timeout = 900): Promise<T> {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const holder = spawn("flock", ["--timeout", String(timeout), file, "sh", "-c", "echo held; cat >/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = new Promise<void>((resolve) => holder.on("close", () => resolve()));
  const held = new Promise<boolean>((resolve, reject) => {
    holder.stdout.once("data", () => resolve(true));
    holder.on("error", reject);
    void ended.then(() => resolve(false));
  });
  if (!(await held)) throw new Error(`Another process held ${file} for more than ${timeout} s.`);
  try {
    return await work();
  } finally {
    holder.stdin.end();
    await ended;
  }
}
