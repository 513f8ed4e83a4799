/**
 * The lab's command line, `npm run lab -- COMMAND`:
 *
 *   start                   the quick start: from nothing to a restored backup
 *   preview | up | destroy  on the quick start's stack, with the settings of Pulumi.lab.yaml
 *   shell [LAB]             a shell inside the lab's network, with pct and pulumi
 *   exec LAB -- COMMAND…    brings a lab up and runs a command inside its network
 *   prepared -- COMMAND…    installs what the tests need on this machine, and runs a command outside any lab
 *   down [--keep-cache]     removes everything all labs made on this machine
 */
import { spawn } from "node:child_process";
import * as path from "node:path";
import { installDebianPackages } from "./debianPackages";
import { down } from "./down";
import { engine, engineIsReady } from "./engine";
import { Lab } from "./lab";
import { preparationLog } from "./prepare";
import { environment } from "./stack";
import { operateOnStart, start, startName } from "./start";

const usage =
  "Usage: npm run lab -- start | preview | up | destroy | shell [LAB] | exec LAB -- COMMAND… | prepared -- COMMAND… | down [--keep-cache]";

/** Runs a command inside a lab's network, on this terminal, and returns its exit code. */
async function inside(lab: Lab, argv: readonly string[]): Promise<number> {
  const [program = "", ...args] = lab.network.here ? argv : lab.network.inside(argv);
  const found = (await engineIsReady()) ? await engine() : undefined;
  const search = [path.join(lab.directory, "bin"), ...(found?.root === undefined ? [] : [path.dirname(found.program)])];
  const env = {
    ...process.env,
    ...lab.network.wayOut,
    ...environment(lab),
    PATH: [...search, process.env.PATH ?? ""].join(":"),
    PGBACKUP_LAB: lab.name,
  };
  return spawned([program, ...args], env);
}

/** Runs a command on this terminal and returns its exit code. */
function spawned([program = "", ...args]: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "inherit", env });
    // What is typed reaches both; this process stays until the command has ended.
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void child.kill(signal));
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? 1));
  });
}

/** This program again, inside the lab's network. */
function again(lab: Lab, args: readonly string[]): Promise<number> {
  return inside(lab, [process.execPath, ...process.execArgv, __filename, ...args]);
}

async function main(args: readonly string[]): Promise<number> {
  const [verb, ...rest] = args;
  switch (verb) {
    case "start":
      return start(again);
    case "preview":
    case "up":
    case "destroy": {
      const lab = await Lab.open(startName);
      return lab.network.here ? operateOnStart(lab, verb) : again(lab, args);
    }
    case "shell":
      return inside(await Lab.up(rest[0] ?? startName), ["bash"]);
    case "exec": {
      const [name, separator, ...command] = rest;
      if (name === undefined || separator !== "--" || command.length === 0) break;
      return inside(await Lab.up(name), command);
    }
    case "prepared": {
      const [separator, ...command] = rest;
      if (separator !== "--" || command.length === 0) break;
      await installDebianPackages(preparationLog("debian-packages"));
      return spawned(command, process.env);
    }
    case "down":
      if (rest.some((each) => each !== "--keep-cache")) break;
      await down({ keepCache: rest.includes("--keep-cache") });
      return 0;
    default:
  }
  console.error(usage);
  return 2;
}

// Whoever reads the output may stop reading, as head does.
process.stdout.on("error", () => process.exit(1));

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  },
);
