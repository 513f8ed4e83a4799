/** Debian packages the lab needs on this machine: installed when missing, noted, and purged again by `lab:down`. */
import * as fs from "node:fs";
import * as path from "node:path";
import { attempt, installed, run } from "./command";
import { outside } from "./network";
import { cache, root } from "./places";
import { locked } from "./waiting";

/** Program to look for → package that brings it. */
const needed: Readonly<Record<string, string>> = {
  "lxc-start": "lxc",
  mmdebstrap: "mmdebstrap",
  newuidmap: "uidmap",
  ip: "iproute2",
  openssl: "openssl",
  curl: "curl",
  ssh: "openssh-client",
  jq: "jq",
  rsync: "rsync", // and rrsync, which confines a NAS's account to a directory
  age: "age",
};

/** The packages that were installed, those that came along included. */
const packagesNote = path.join(root, "debian-packages.json");

/** The system accounts that the packages made, and leave behind when they are purged. */
const accountsNote = path.join(root, "debian-accounts.json");

const policy = "/usr/sbin/policy-rc.d";

function readNote(note: string): string[] {
  return fs.existsSync(note) ? (JSON.parse(fs.readFileSync(note, "utf8")) as string[]) : [];
}

/** Adds what is there now and was not before. */
function addToNote(note: string, before: ReadonlySet<string>, now: ReadonlySet<string>): void {
  const added = [...now].filter((name) => !before.has(name));
  fs.writeFileSync(note, JSON.stringify([...new Set([...readNote(note), ...added])].sort(), undefined, 2));
}

/** Names of all accounts of this machine. */
function accounts(): Set<string> {
  const lines = fs.readFileSync("/etc/passwd", "utf8").trim().split("\n");
  return new Set(lines.map((line) => line.split(":")[0] ?? ""));
}

/** Names of all packages that are installed. */
async function present(): Promise<Set<string>> {
  const { stdout } = await run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\\n"]);
  const lines = stdout.split("\n").filter((line) => line.startsWith("ii"));
  return new Set(lines.map((line) => line.slice(2).trim()));
}

async function missing(): Promise<string[]> {
  const absent: string[] = [];
  for (const [program, name] of Object.entries(needed)) if (!(await installed(program))) absent.push(name);
  if (!fs.existsSync("/usr/sbin/sshd")) absent.push("openssh-server");
  if (!hasPostgresServer()) absent.push("postgresql");
  const venv = await attempt(["/usr/bin/python3", "-c", "import venv, ensurepip"]);
  if (venv.code !== 0) absent.push("python3-venv");
  return absent;
}

/** The tests of the scripts run a server of their own from Debian's package. */
function hasPostgresServer(): boolean {
  const versions = "/usr/lib/postgresql";
  return (
    fs.existsSync(versions) && fs.readdirSync(versions).some((each) => fs.existsSync(`${versions}/${each}/bin/initdb`))
  );
}

/** Does `work` while packages may start no service; afterwards the policy that stood there stands there again. */
async function withoutStartingServices<T>(work: () => Promise<T>): Promise<T> {
  const before = fs.existsSync(policy) ? { text: fs.readFileSync(policy), mode: fs.statSync(policy).mode } : undefined;
  fs.writeFileSync(policy, "#!/bin/sh\nexit 101\n");
  fs.chmodSync(policy, 0o755);
  try {
    return await work();
  } finally {
    fs.rmSync(policy, { force: true });
    if (before !== undefined) fs.writeFileSync(policy, before.text, { mode: before.mode });
  }
}

/**
 * Installs what is missing.
 * @param log file for what apt says
 * @returns names of the packages that were missing
 */
export async function installDebianPackages(log?: string): Promise<string[]> {
  if (process.getuid?.() !== 0) throw new Error("The lab makes containers and network namespaces: run it as root.");
  if ((await missing()).length === 0) return [];
  if (!(await installed("apt-get"))) throw new Error(`The lab needs Debian; missing: ${(await missing()).join(", ")}.`);
  return locked(path.join(cache, "apt.lock"), async () => {
    const names = await missing();
    if (names.length === 0) return [];
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const packagesBefore = await present();
    const accountsBefore = accounts();
    await withoutStartingServices(async () => {
      await run(outside(["apt-get", "update", "-q"]), { log, env });
      try {
        await run(outside(["apt-get", "install", "-qy", "--no-install-recommends", ...names]), { log, env });
      } finally {
        addToNote(packagesNote, packagesBefore, await present());
        addToNote(accountsNote, accountsBefore, accounts());
      }
    });
    return names;
  });
}

/** Purges what {@link installDebianPackages} has installed, and nothing else. @returns names of the packages */
export async function removeDebianPackages(log?: string): Promise<string[]> {
  const here = await present();
  const names = readNote(packagesNote).filter((name) => here.has(name));
  if (names.length > 0) {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    await withoutStartingServices(() => run(["apt-get", "purge", "-qy", ...names], { log, env }));
  }
  const left = accounts();
  for (const name of readNote(accountsNote).filter((each) => left.has(each))) await run(["userdel", name], { log });
  for (const note of [packagesNote, accountsNote]) fs.rmSync(note, { force: true });
  return names;
}
