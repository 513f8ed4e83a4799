/** The quick start: from nothing to a backup that was restored and verified. */
import * as fs from "node:fs";
import * as path from "node:path";
import { HeadObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { CommandError, type Result } from "./command";
import { installDebianPackages } from "./debianPackages";
import { engine, engineIsReady } from "./engine";
import { image, imageIsCached } from "./image";
import { Lab } from "./lab";
import { repository } from "./places";
import { preparationLog, prepareEngine } from "./prepare";
import { pythonEnvironment, pythonEnvironmentIsCached } from "./pythonEnvironment";
import { labFacts, nasFacts, settingsFor } from "./settings";
import type { LabStack } from "./stack";
import { doSteps, StepError } from "./steps";

/** Name of the quick start's lab. */
export const startName = "start";

const vmid = 2320;
const database = "expense_app_production";
const service = "trade-show-db-backup.service";
const restored = "expense_app_restored";

/** Settings of the quick start's stack: the user's to edit. */
const settingsFile = path.join(repository, "Pulumi.lab.yaml");

const heading = ` Settings of the quick start. Change one, for example the schedule, and look at what that would change:
   npm run lab -- preview
 Address, keys and certificates of the lab are filled in anew each time; the rest is yours. Pulumi.yaml describes all.`;

/** What later steps learn from earlier ones. */
interface Found {
  dump: string;
  copies: string[];
  copiesOnNas: string[];
  verification: string;
  runbook: string;
}

/**
 * Runs the quick start; what needs the lab's network goes on in a second process inside it.
 * @param again runs this program again inside a lab's network
 * @returns exit code
 */
export async function start(again: (lab: Lab, args: readonly string[]) => Promise<number>): Promise<number> {
  const lab = Lab.at(startName);
  try {
    if (lab.network.here) {
      await startInside(lab);
      return 0;
    }
    const log = preparationLog("debian-packages");
    await doSteps({}, [
      {
        title: "Debian packages",
        log,
        advice: "Check that apt-get update works on this machine, then run npm start again.",
        work: async () => {
          const names = await installDebianPackages(log);
          return names.length === 0 ? "all there" : `installed ${names.join(", ")}`;
        },
      },
      {
        title: "Sealed network",
        advice: "The lab needs root and a kernel that makes network namespaces and bridges.",
        work: () => lab.network.up(),
      },
    ]);
    return await again(lab, ["start"]);
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    console.error(`\n${error.message}`);
    return 1;
  }
}

/** The stack of the quick start, with its settings where the user can edit them. */
function startStack(lab: Lab): LabStack {
  const fresh = !fs.existsSync(settingsFile);
  const settings = fresh ? { ...settingsFor(lab, vmid), schedule: "*-*-* 02:00:00" } : labFacts(lab);
  return lab.stack("lab", { ...settings, ...nasFacts(lab) }, { directory: repository, heading });
}

/** `npm run lab -- preview | up | destroy`: the engine on the quick start's stack. */
export async function operateOnStart(lab: Lab, verb: "preview" | "up" | "destroy"): Promise<number> {
  const stack = startStack(lab);
  const options = { onOutput: (text: string) => void process.stdout.write(text) };
  try {
    if (verb === "preview") await stack.preview({ ...options, diff: true });
    else if (verb === "up") await stack.up(options);
    else await stack.destroy({ ...options, excludeProtected: true });
    return 0;
  } catch {
    return 1; // the engine has said why
  }
}

async function startInside(lab: Lab): Promise<void> {
  const found: Found = { dump: "", copies: [], copiesOnNas: [], verification: "", runbook: "" };
  const started = Date.now();
  const engineLog = preparationLog("engine");
  const registries =
    "Check that this machine reaches its package registries, then run npm start again: it goes on where it stopped.";
  const look = `Look at the container with: npm run lab -- shell ${startName}, then pct exec ${vmid} -- journalctl -e`;
  const deployLog = lab.logFile("deploy");
  await doSteps(found, [
    [
      {
        title: "Pulumi engine and provider plugins",
        log: engineLog,
        advice: registries,
        work: async () => {
          const built = !(await engineIsReady());
          await prepareEngine();
          const { command, aws } = lab.plugins;
          const plugins = command === aws ? `plugins: ${command}` : `plugins: command ${command}, aws ${aws}`;
          return `${(await engine()).origin}${built ? " just now" : ""}; ${plugins}`;
        },
      },
      {
        title: "Root file system with PostgreSQL",
        log: preparationLog("image"),
        advice: registries,
        done: () => imageIsCached({ release: "bookworm" }),
        work: async () => void (await image({ release: "bookworm" }, preparationLog("image"))),
      },
      {
        title: "S3 server's Python environment",
        log: preparationLog("python"),
        advice: registries,
        done: pythonEnvironmentIsCached,
        work: async () => void (await pythonEnvironment(preparationLog("python"))),
      },
    ],
    {
      title: "Host, S3 server and NAS",
      advice: `Look into ${path.join(lab.directory, "log")}.`,
      work: async () => {
        await Lab.up(startName);
        return `ssh ${lab.host.user}@${lab.host.address}, ${lab.s3.endpoint}, rsync ${lab.nas.address}`;
      },
    },
    {
      title: `Container ${vmid}`,
      log: lab.logFile("lxc"),
      advice: "The lab needs root, and a machine that may make containers.",
      work: async () => void (await lab.createContainer(vmid)),
    },
    {
      title: `Sample database ${database}`,
      advice: look,
      work: () => lab.createSampleDatabase(vmid, { database }),
    },
    {
      title: "Deploy this package: pulumi up",
      log: deployLog,
      advice: `Correct what the engine names, in ${settingsFile} for example, then run npm start again.`,
      work: async (context) => {
        fs.writeFileSync(deployLog, "");
        const stack = startStack(lab);
        const onOutput = (text: string) => fs.appendFileSync(deployLog, text);
        const { changes } = await stack.up({ onOutput, refresh: s3IsAnother(lab) });
        rememberS3(lab);
        context.runbook = String((await stack.outputs()).runbook?.value ?? "");
        return Object.entries(changes)
          .map(([kind, count]) => `${count} ${kind}`)
          .join(", ");
      },
    },
    {
      title: "Back up, through the systemd service",
      advice: look,
      work: async (context) => {
        await inContainer(lab, `systemctl start ${service}`).catch(async (error: unknown) => {
          const { stdout } = await inContainer(lab, `journalctl -u ${service} -n 8 --no-pager -o cat`);
          throw new Error(`${error instanceof Error ? error.message : String(error)}\n\nIts journal:\n${stdout}`);
        });
        const newest = "ls -t /var/backups/trade-show-app/*.dump.json | head -n 1";
        const { stdout } = await inContainer(lab, `sh -c '${newest}'`);
        context.dump = stdout.trim().replace(/\.json$/, "");
        return path.basename(context.dump);
      },
    },
    {
      title: "Find the copies in S3 and on the NAS",
      advice: look,
      work: async (context) => {
        const dump = path.basename(context.dump);
        context.copies = await copiesInS3(lab, dump);
        context.copiesOnNas = copiesOnNas(lab, dump);
        return `${dump} with its manifest in both`;
      },
    },
    {
      title: "Restore it into a new, empty database",
      advice: look,
      work: async (context) => {
        await inContainer(lab, `sudo -u postgres dropdb --if-exists ${restored}`);
        await inContainer(lab, `trade-show-db-restore.sh --file ${context.dump} --new ${restored}`);
        return restored;
      },
    },
    {
      title: "Verify the restored database",
      advice: look,
      work: async (context) => {
        const verify = `trade-show-db-verify.sh --database ${restored} --manifest ${context.dump}.json`;
        context.verification = (await inContainer(lab, verify)).stdout;
      },
    },
  ]);
  console.log(summary(lab, found, (Date.now() - started) / 1000));
}

/** File with the access key of the S3 server that was last deployed to. */
function lastS3(lab: Lab): string {
  return path.join(lab.directory, "s3-last-deployed-to");
}

/** Whether the S3 server was started anew since the last deployment, and so has forgotten bucket and keys. */
function s3IsAnother(lab: Lab): boolean {
  const file = lastS3(lab);
  return fs.existsSync(file) && fs.readFileSync(file, "utf8") !== lab.s3.admin.accessKeyId;
}

function rememberS3(lab: Lab): void {
  fs.writeFileSync(lastS3(lab), lab.s3.admin.accessKeyId);
}

/** Types a command on the host. @throws CommandError unless it ends with exit code 0 */
async function inContainer(lab: Lab, command: string): Promise<Result> {
  const line = `pct exec ${vmid} -- ${command}`;
  const result = await lab.pct(line, { input: "" });
  if (result.code !== 0) throw new CommandError([line], result);
  return result;
}

/** Keys of a dump and its manifest in the bucket. @throws if one is missing, or is empty */
async function copiesInS3(lab: Lab, dump: string): Promise<string[]> {
  const stack = startStack(lab);
  const bucket = stack.config.get("s3Bucket");
  const s3 = lab.s3.client();
  const listed = await s3.send(new ListObjectsV2Command({ Bucket: String(bucket) }));
  const keys = (listed.Contents ?? []).flatMap(({ Key }) => (Key === undefined ? [] : [Key]));
  return Promise.all(
    [dump, `${dump}.json`].map(async (file) => {
      const key = keys.find((each) => path.posix.basename(each) === file);
      if (key === undefined) throw new Error(`The bucket ${String(bucket)} has no ${file}. It has: ${keys.join(", ")}`);
      const { ContentLength = 0 } = await s3.send(new HeadObjectCommand({ Bucket: String(bucket), Key: key }));
      if (ContentLength === 0) throw new Error(`${key} in the bucket ${String(bucket)} is empty.`);
      return key;
    }),
  );
}

/** Paths of a dump and its manifest on the NAS, as its account sees them. @throws if one is missing, or is empty */
function copiesOnNas(lab: Lab, dump: string): string[] {
  const directory = `/ct${vmid}`;
  const files = lab.nas.list(directory);
  return [dump, `${dump}.json`].map((file) => {
    if (!files.includes(file)) throw new Error(`The NAS has no ${file} in ${directory}. It has: ${files.join(", ")}`);
    if (fs.statSync(lab.nas.file(directory, file)).size === 0) throw new Error(`${file} on the NAS is empty.`);
    return `${directory}/${file}`;
  });
}

function summary(lab: Lab, found: Found, seconds: number): string {
  const { command, aws } = lab.plugins;
  return `
${found.runbook.trim()}

${found.verification.trim()}

What stands where
  host       ${lab.host.user}@${lab.host.address}, in the sealed network of the lab "${lab.name}" (${lab.directory})
  container  ${vmid}, with ${database}, its scheduled backup, and ${restored} restored from it
  dump       ${found.dump} in the container
  off-host   ${found.copies.join(", ")} on ${lab.s3.endpoint}
             ${found.copiesOnNas.join(", ")} on the NAS ${lab.nas.address} (${lab.nas.directory})
  settings   ${settingsFile}
  plugins    command: ${command}, aws: ${aws}

What was proved, in ${Math.round(seconds)} s
  this package's index.ts was deployed by the Pulumi engine, the systemd service made a dump and put it off-host, in
  S3 and on a NAS, and that dump was restored into an empty database and verified.

Where to look next
  npm run lab -- shell          a shell beside the host: pct list, pct exec ${vmid} -- systemctl list-timers
  npm run lab -- preview        after changing a line of Pulumi.lab.yaml: what would change
  npm run lab -- up             make it so
  npm run lab:down              remove everything this made on the machine
`;
}
