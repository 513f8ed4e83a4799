/** The Python environment that moto, the S3 server of the lab, runs in: made once and cached. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { run } from "./command";
import { outside } from "./network";
import { cache, source } from "./places";
import { locked } from "./waiting";

const requirements = source("s3", "requirements.txt");

function directory(): string {
  const recipe = createHash("sha256").update(fs.readFileSync(requirements)).digest("hex").slice(0, 12);
  return path.join(cache, `python-${recipe}`);
}

/** Whether the environment is in the cache. */
export function pythonEnvironmentIsCached(): boolean {
  return fs.existsSync(path.join(directory(), "complete"));
}

/**
 * Directory of the environment's programs, made if its requirements are new (45 s).
 * @param log file for what pip says
 */
export async function pythonEnvironment(log?: string): Promise<string> {
  const venv = directory();
  const bin = path.join(venv, "bin");
  if (pythonEnvironmentIsCached()) return bin;
  return locked(`${venv}.lock`, async () => {
    if (pythonEnvironmentIsCached()) return bin;
    // In place: an environment knows its own path, so it cannot be renamed.
    fs.rmSync(venv, { recursive: true, force: true });
    await run(["/usr/bin/python3", "-m", "venv", venv], { log });
    const pip = [path.join(bin, "python"), "-m", "pip", "install", "--no-input", "--no-cache-dir", "-r", requirements];
    await run(outside(pip), { log });
    fs.writeFileSync(path.join(venv, "complete"), "");
    return bin;
  });
}
