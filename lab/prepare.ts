/** What has to be on the machine before a lab can start; everything here may need a package registry. */
import * as fs from "node:fs";
import * as path from "node:path";
import { installDebianPackages } from "./debianPackages";
import { engine } from "./engine";
import { image } from "./image";
import { cache, root } from "./places";
import { downloadPlugins } from "./plugins";
import { pythonEnvironment } from "./pythonEnvironment";

/** Log file of one step of the preparation. */
export function preparationLog(step: string): string {
  const directory = path.join(cache, "log");
  fs.mkdirSync(directory, { recursive: true });
  fs.chmodSync(root, 0o755);
  return path.join(directory, `${step}.log`);
}

/** Debian packages, then engine, image and Python environment side by side. What is there is not made again. */
export async function prepare(): Promise<void> {
  await installDebianPackages(preparationLog("debian-packages"));
  await Promise.all([
    prepareEngine(),
    image({ release: "bookworm" }, preparationLog("image")),
    pythonEnvironment(preparationLog("python")),
  ]);
}

/** The engine, and the official plugins where they can be had. */
export async function prepareEngine(): Promise<void> {
  await downloadPlugins(await engine(preparationLog("engine")), preparationLog("plugins"));
}
