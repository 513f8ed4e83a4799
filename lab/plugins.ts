/**
 * The provider plugins of the engine: the official ones where they can be downloaded, else the lab's stand-ins, which
 * speak the same protocol for just the resource types used here.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { attempt, installed } from "./command";
import type { Engine } from "./engine";
import { outside } from "./network";
import { cache } from "./places";
import { installLanguageHost, installStandIns } from "./providers/install";
import { locked } from "./waiting";

/** Versions of the official plugins, those of the npm packages. */
const versions = { command: "1.2.1", aws: "7.48.0" } as const;

type Plugin = keyof typeof versions;

/** Which kind of each plugin is in use, in words: `official 1.2.1` or `stand-in`. */
export type Plugins = Readonly<Record<Plugin, string>>;

/** PULUMI_HOME that official plugins are downloaded to. */
const downloads = path.join(cache, "pulumi");

function folder(home: string, plugin: Plugin): string {
  return path.join(home, "plugins", `resource-${plugin}-v${versions[plugin]}`);
}

function isDownloaded(plugin: Plugin): boolean {
  return fs.existsSync(path.join(folder(downloads, plugin), `pulumi-resource-${plugin}`));
}

/** Left by a download that failed, so that it is tried once a day only: the engine insists for some seconds. */
const refused = path.join(cache, "plugins-refused");
const day = 86_400_000;

/**
 * Downloads the official plugins, if that is possible. Where the first cannot be had, the second is not tried: both
 * come from the same place.
 */
export async function downloadPlugins(engine: Engine, log?: string): Promise<void> {
  if ((Object.keys(versions) as Plugin[]).every(isDownloaded)) return;
  await locked(path.join(cache, "plugins.lock"), async () => {
    if (fs.existsSync(refused) && Date.now() - fs.statSync(refused).mtimeMs < day) return;
    for (const [plugin, limit] of [
      ["command", 60_000],
      ["aws", 600_000],
    ] as const) {
      if (isDownloaded(plugin)) continue;
      const argv = [engine.program, "plugin", "install", "resource", plugin, versions[plugin]];
      const env = { ...process.env, PULUMI_HOME: downloads, PULUMI_SKIP_UPDATE_CHECK: "1" };
      const result = await attempt(outside(argv), { env, log, timeout: limit });
      if (result.code !== 0 || !isDownloaded(plugin)) return fs.writeFileSync(refused, result.stderr);
    }
  });
}

/** Puts the plugins into a lab's PULUMI_HOME, the official ones where they were downloaded, and says which. */
export function linkPlugins(home: string): Plugins {
  const names = Object.keys(versions) as Plugin[];
  if (!names.every(isDownloaded)) installStandIns(home);
  for (const plugin of names.filter(isDownloaded)) {
    const file = `pulumi-resource-${plugin}`;
    const draft = path.join(folder(home, plugin), `${file}.${process.pid}`);
    fs.mkdirSync(folder(home, plugin), { recursive: true });
    fs.symlinkSync(path.join(folder(downloads, plugin), file), draft);
    fs.renameSync(draft, path.join(folder(home, plugin), file));
  }
  return pluginsInUse();
}

/** A PATH with the official language host for Node, if there is one, else with the stand-in. */
export async function languageHostPath(home: string): Promise<string> {
  const usual = process.env.PATH ?? "";
  if (await installed("pulumi-language-nodejs")) return usual;
  const directory = path.join(home, "bin");
  installLanguageHost(directory);
  return `${directory}${path.delimiter}${usual}`;
}

/** Which plugins {@link linkPlugins} takes. */
export function pluginsInUse(): Plugins {
  const say = (plugin: Plugin) => (isDownloaded(plugin) ? `official ${versions[plugin]}` : "stand-in");
  return { command: say("command"), aws: say("aws") };
}
