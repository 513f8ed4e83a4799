/** Prometheus' own checker of metrics, for tests: out of Debian's package, which is not installed. */
import * as fs from "node:fs";
import * as path from "node:path";
import { run } from "./command";
import { outside } from "./network";
import { cache } from "./places";
import { locked } from "./waiting";

/** Path of promtool in the cache, fetched there (19 MB) if it is not there yet. */
export async function promtool(): Promise<string> {
  const tool = path.join(cache, "promtool");
  if (fs.existsSync(tool)) return tool;
  return locked(`${tool}.lock`, async () => {
    if (fs.existsSync(tool)) return tool;
    const work = `${tool}.partial`;
    fs.rmSync(work, { recursive: true, force: true });
    fs.mkdirSync(work, { recursive: true });
    const script = "apt-get download -q prometheus && dpkg-deb --extract prometheus_*.deb .";
    await run(outside(["sh", "-c", script]), { cwd: work });
    fs.renameSync(path.join(work, "usr/bin/promtool"), tool);
    fs.rmSync(work, { recursive: true });
    return tool;
  });
}
