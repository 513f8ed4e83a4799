/** Files out of Debian packages that are not installed, for tests. */
import * as fs from "node:fs";
import * as path from "node:path";
import { run } from "./command";
import { outside } from "./network";
import { cache } from "./places";
import { locked } from "./waiting";

/** Path of Prometheus' own checker of metrics. */
export function promtool(): Promise<string> {
  return fileOf("prometheus", "usr/bin/promtool");
}

/** Path of the library that, preloaded, gives a program another time: FAKETIME=+1d. */
export function faketime(): Promise<string> {
  return fileOf("libfaketime", "usr/lib/*/faketime/libfaketime.so.1");
}

/**
 * Fetched into the cache if it is not there yet.
 * @param pattern which file of the package, for the shell
 */
async function fileOf(debianPackage: string, pattern: string): Promise<string> {
  const file = path.join(cache, path.basename(pattern));
  if (fs.existsSync(file)) return file;
  return locked(`${file}.lock`, async () => {
    if (fs.existsSync(file)) return file;
    const work = `${file}.partial`;
    fs.rmSync(work, { recursive: true, force: true });
    fs.mkdirSync(work, { recursive: true });
    const script = `apt-get download -q ${debianPackage} && dpkg-deb --extract ${debianPackage}_*.deb . && mv ${pattern} found`;
    await run(outside(["sh", "-c", script]), { cwd: work });
    fs.renameSync(path.join(work, "found"), file);
    fs.rmSync(work, { recursive: true });
    return file;
  });
}
