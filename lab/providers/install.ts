/** Puts the stand-ins where the engine looks for provider plugins. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import * as ts from "typescript";

/** The official plugins whose places are taken, in the versions that package.json pins the SDKs to. */
const PLUGINS = { command: "1.2.1", aws: "7.48.0" };

/** Beneath node_modules, because that is where the stand-ins find what they import. */
const CACHE = path.resolve(__dirname, "../../node_modules/.cache/stand-ins");

export interface StandInPlugin {
  readonly name: string;
  readonly version: string;
  /** Folder in which the engine finds it. */
  readonly directory: string;
}

/**
 * Writes `plugins/resource-<name>-v<version>/pulumi-resource-<name>` for each stand-in. May be run any number of times.
 * @param pulumiHome the PULUMI_HOME that the engine will be run with
 */
export function installStandIns(pulumiHome: string): StandInPlugin[] {
  return Object.entries(PLUGINS).map(([name, version]) => {
    const directory = path.join(pulumiHome, "plugins", `resource-${name}-v${version}`);
    install(name, path.join(directory, `pulumi-resource-${name}`));
    return { name, version, directory };
  });
}

/**
 * Writes `pulumi-language-nodejs`. May be run any number of times.
 * @param directory what the engine is to have on its PATH
 */
export function installLanguageHost(directory: string): void {
  install("nodejs", path.join(directory, "pulumi-language-nodejs"));
}

function install(name: string, program: string): void {
  fs.mkdirSync(path.dirname(program), { recursive: true });
  // Never overwritten in place: an engine may be starting it right now.
  const draft = `${program}.${process.pid}`;
  fs.writeFileSync(draft, standInLauncher(name), { mode: 0o755 });
  fs.renameSync(draft, program);
}

/** Text of a stand-in's program: a shell script, to be written with mode 0755. */
export function standInLauncher(name: string): string {
  const main = path.join(compile(), name, "main.js");
  return `#!/bin/sh
# The lab's stand-in for the official plugin, which could not be downloaded. See lab/providers/README.md.
exec ${shellQuote(process.execPath)} ${shellQuote(main)} "$@"
`;
}

const shellQuote = (word: string): string => `'${word.replace(/'/g, `'\\''`)}'`;

/**
 * Every preview starts the plugins, and through ts-node that takes half a second longer. So they are translated once
 * for each state of the sources, into a directory named after it.
 */
function compile(): string {
  const sources = fs
    .readdirSync(__dirname, { recursive: true, encoding: "utf8" })
    .filter((file) => file.includes(path.sep) && file.endsWith(".ts"))
    .sort()
    .map((file) => ({ file, text: fs.readFileSync(path.join(__dirname, file), "utf8") }));
  const hash = createHash("sha256").update(JSON.stringify([ts.version, sources]));
  const target = path.join(CACHE, hash.digest("hex").slice(0, 16));
  if (fs.existsSync(target)) return target;
  const draft = `${target}.${process.pid}`;
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS, esModuleInterop: true };
  for (const { file, text } of sources) {
    const output = path.join(draft, file.replace(/\.ts$/, ".js"));
    fs.mkdirSync(path.dirname(output), { recursive: true });
    fs.writeFileSync(output, ts.transpileModule(text, { compilerOptions }).outputText);
  }
  try {
    fs.renameSync(draft, target);
  } catch (error) {
    // Somebody else was faster, with the same result.
    fs.rmSync(draft, { recursive: true });
    if (!fs.existsSync(target)) throw error;
  }
  return target;
}
