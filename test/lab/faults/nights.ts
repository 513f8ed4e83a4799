/** Nights of one container: starting them, halting them in the middle, and looking at what they leave. */
import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { GetObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import type { Result } from "../../../lab/command";
import type { Deployment } from "../deployment";
import type { Ended, Fault } from "./fault";
import type { Relay } from "./relay";

export const database = "expense_app_production";
export const role = "trade_show_backup_prod";
export const dumps = "/var/backups/trade-show-app";
export const state = "/var/lib/trade-show-db";
export const configuration = "/etc/trade-show-app";
export const service = "trade-show-db-backup.service";
export const command = "/usr/local/bin/trade-show-db-backup.sh";
const restoreCommand = "/usr/local/bin/trade-show-db-restore.sh";

/** Off-host targets by the names that `--list` gives them. */
export type Target = "s3" | "nas";

/** What lies in the directory of dumps. */
export interface Sight {
  /** SHA-256 by name of every file but hidden ones. */
  readonly hashes: ReadonlyMap<string, string>;
  /** Dumps that `--list` shows as verified, newest first, and where off-host it says that they are. */
  readonly verified: ReadonlyMap<string, readonly Target[]>;
  /** Hidden files, partials among them. */
  readonly hidden: readonly string[];
}

export class Nights {
  /** Files that a fault damaged, and that so are no earlier good ones any more. */
  readonly harmed = new Set<string>();
  /** Where dumps are copied to. The NAS joins for faults of its own only: a night takes twice as long with it. */
  targets: readonly Target[] = ["s3"];
  /** The halted pg_dump. */
  private halted = "";
  private readonly reported = new Set<string>();
  private readonly provenDumps = new Set<string>();
  private readonly provenCopies = new Set<string>();

  constructor(
    readonly deployment: Deployment,
    /** The ways to the targets. */
    readonly ways: Readonly<Record<Target, Relay>>,
  ) {}

  /** Runs lines of bash in the container as root; fails unless all succeed. */
  shell(lines: string): Promise<string> {
    return this.deployment.shell(lines);
  }

  /** Copies a file of this machine into the container. */
  async copyIn(from: string, to: string): Promise<void> {
    const { lab, vmid } = this.deployment;
    const input = fs.readFileSync(from).toString("base64");
    const { code, stderr } = await lab.exec(vmid, ["sh", "-c", 'base64 --decode >"$0"', to], { input });
    assert.equal(code, 0, stderr);
  }

  /** Runs SQL as the superuser. */
  sql(statement: string): Promise<string> {
    return this.deployment.sql(statement, database);
  }

  /** Runs a program in the container, whatever its exit code. */
  attempt(argv: readonly string[], user?: string): Promise<Result> {
    const { lab, vmid } = this.deployment;
    return lab.exec(vmid, argv, user === undefined ? {} : { user });
  }

  /** Starts the service as its timer does, and waits until it has ended. */
  async run(midway?: Fault["midway"]): Promise<Ended> {
    const ended = this.start();
    if (midway !== undefined) {
      await this.halt(midway.share);
      await midway.act(this);
      await this.signal("CONT");
    }
    await ended;
    return this.report();
  }

  /** Starts the service; resolves when it has ended. More nights than systemd allows in ten seconds may be begun. */
  async start(): Promise<void> {
    // A start that is stopped, or takes too long, is over for systemctl before the service is.
    const lines = `systemctl reset-failed ${service}; systemctl start ${service}
      until [[ $(systemctl show -P ActiveState ${service}) == @(inactive|failed) ]]; do sleep 0.05; done`;
    await this.attempt(["bash", "--norc", "-c", lines]);
  }

  /** What systemd and the journal say of the service's last run. */
  async report(): Promise<Ended> {
    const text = await this.shell(`systemctl show -P InvocationID ${service}
      systemctl show -P Result ${service}
      systemctl show -P ExecMainStatus ${service}
      journalctl --sync
      id=$(systemctl show -P InvocationID ${service})
      journalctl -o cat -p warning _SYSTEMD_INVOCATION_ID="$id" + INVOCATION_ID="$id"`);
    const [invocation = "", result = "", status = "", ...lines] = text.trim().split("\n");
    assert.ok(!this.reported.has(invocation), "the service did not start");
    this.reported.add(invocation);
    const ended = describeEnd(result, status);
    const said = lines.filter((line) => !ordinary.test(line));
    return { status: ended, lines: said.length === 0 && ended !== "0" ? await this.linesOfUnit() : said };
  }

  /** What the unit said since its last start. Of a process that lived for moments, journald may not learn which run it was. */
  private async linesOfUnit(): Promise<string[]> {
    const text = await this.shell(`since=$(systemctl show --timestamp=us+utc -P InactiveExitTimestamp ${service})
      journalctl -o cat -p warning --since "$since" _SYSTEMD_UNIT=${service}`);
    return text
      .trim()
      .split("\n")
      .filter((line) => line !== "" && !ordinary.test(line));
  }

  /** Sends the halted pg_dump a signal; it may be gone. */
  async signal(name: string): Promise<void> {
    await this.attempt(["kill", `-${name}`, this.halted]);
  }

  /** Deploys, and keeps the settings as they then are, but for a shorter patience with the targets. */
  async deploy(): Promise<void> {
    await this.deployment.stack.up();
    await this.set("S3_STALL_SECONDS=6 NAS_STALL_SECONDS=6");
    await this.keepSettings();
  }

  private async keepSettings(): Promise<void> {
    if (!this.targets.includes("nas")) await this.set("NAS_HOST=");
    await this.shell(`rm -rf /root/settings; cp -a ${configuration} /root/settings`);
  }

  /** Puts the settings back as they were deployed. */
  async restoreSettings(): Promise<void> {
    await this.shell(`cp -a /root/settings/. ${configuration}/`);
  }

  /** Has dumps copied to just these targets from now on. */
  async useTargets(targets: readonly Target[]): Promise<void> {
    if (targets.join() === this.targets.join()) return;
    this.targets = targets;
    await this.shell(`sed -i '/^NAS_HOST=$/d' ${configuration}/backup.env`);
    await this.keepSettings();
  }

  /** Removes all dumps but the newest, and all globals but the newest, so that each fault begins alike. */
  async keepNewest(): Promise<void> {
    const newest = await this.newest();
    await this.shell(`cd ${dumps}
      globals=(globals_*.sql)
      find . -mindepth 1 ! -name '${newest}*' ! -name "\${globals[-1]}*" -delete`);
    this.harmed.clear();
  }

  /**
   * Adds a dump that was made that many days ago, as far as its name tells: the newest one's content. Its copies have
   * expired. Returns its name.
   */
  async addAged(days: number): Promise<string> {
    const newest = await this.newest();
    const stamp = new Date(Date.now() - days * 86_400_000).toISOString().replace(/[-:]|\.\d+/g, "");
    const aged = newest.replace(/_\d{8}T\d{6}Z\.dump$/, `_${stamp}.dump`);
    await this.shell(`cd ${dumps}
      cp -p ${newest} ${aged}
      alter() { cp -p "$2" "$3"; jq --arg file ${aged} "$1" "$2" >/run/altered; cat /run/altered >"$3"; } # owner and mode stay
      alter '.file = $file' ${newest}.json ${aged}.json
      cd ${state}/off-host
      for target in ${this.targets.join(" ")}; do
        alter '.file = $file | .object = $file | .state = "expired" | .days = 14' $target/{${newest},${aged}}.json
      done`);
    return aged;
  }

  /** Removes what a fault has damaged, as the operator would who was told of it. */
  async removeHarmed(): Promise<void> {
    for (const name of this.harmed) await this.shell(`rm -f ${dumps}/${name}`);
  }

  /** Restores a dump into a new database, proves it, and returns what was proved. */
  async restore(dump: string): Promise<string> {
    const argv = [restoreCommand, "--file", dump, "--new", "proof"];
    const proved = await this.deployment.run(argv);
    await this.deployment.sql("DROP DATABASE proof", "postgres");
    return proved;
  }

  /** Halts pg_dump once this share of the dump is written, as far as the last dump tells. */
  async halt(share: number): Promise<void> {
    const size = Number(await this.shell(`cd ${dumps}; files=(${database}_*.dump); stat -c %s "\${files[-1]}"`));
    const { code, stdout } = await this.attempt(["perl", "-e", halting, dumps, String(Math.round(size * share))]);
    assert.equal(code, 0, "pg_dump was not caught in the middle");
    const [pid = "", written = ""] = stdout.split(" ");
    this.halted = pid;
    const seen = Number(written) / size;
    assert.ok(Math.abs(seen - share) < 0.25, `halted at ${Math.round(100 * seen)} % instead of ${100 * share} %`);
  }

  async look(): Promise<Sight> {
    const text = await this.shell(`cd ${dumps} 2>/dev/null || cd ${dumps}.gone # a fault moves it away
      find . -maxdepth 1 -type f -name '[!.]*' -printf '%P\\0' | xargs -0r sha256sum
      echo ==
      find . -maxdepth 1 -name '.?*' -printf '%P\\n'
      echo ==
      ${command} --list 2>/dev/null || true`);
    const [hashes = "", hidden = "", listed = ""] = text.split("==\n");
    const cells = listed.split("\n").map((line) => line.trim().split(/ {2,}/));
    return {
      hashes: new Map(lines(hashes).map((line) => [line.slice(66), line.slice(0, 64)])),
      hidden: lines(hidden),
      verified: new Map(
        cells.filter(([, , , , , verified]) => verified === "yes").map((row) => [row[7] ?? "", readTargets(row[6])]),
      ),
    };
  }

  /** Proves the dumps listed as verified with `--check`; returns the names of those that it refuses. */
  async findDamaged({ verified, hashes }: Sight): Promise<string[]> {
    const key = (name: string) => [name, hashes.get(name), hashes.get(`${name}.json`)].join(" ");
    const names = [...verified.keys()].filter((name) => !this.provenDumps.has(key(name)));
    const checks = names.map((name) => `${command} --check '${name}' 2>/dev/null || echo '${name}'`);
    const damaged = lines(await this.shell(checks.join("\n")));
    for (const name of names) if (!damaged.includes(name)) this.provenDumps.add(key(name));
    return damaged;
  }

  /** Names of the dumps that a reader of a target sees; each is proved to be what its manifest says. */
  async copies(target: Target): Promise<Set<string>> {
    const { names, read } = target === "s3" ? await this.bucket() : this.nas();
    const manifests = names.filter((name) => name.endsWith(".dump.json"));
    for (const name of manifests) {
      if (this.provenCopies.has(`${target} ${name}`)) continue;
      const { sha256 } = JSON.parse((await read(name)).toString("utf8")) as { sha256: string };
      const content = await read(name.replace(/\.json$/, ""));
      const found = createHash("sha256").update(content).digest("hex");
      assert.equal(found, sha256, `${target}: ${name} vouches for what is not there`);
      this.provenCopies.add(`${target} ${name}`);
    }
    return new Set(manifests.map((name) => name.replace(/\.json$/, "")));
  }

  private async bucket() {
    const { lab, bucket: Bucket, vmid } = this.deployment;
    const Prefix = `ct${vmid}/`;
    const s3 = lab.s3.client();
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix }));
    return {
      names: Contents.map(({ Key = "" }) => Key.slice(Prefix.length)),
      read: async (name: string) => {
        const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: `${Prefix}${name}` }));
        return Buffer.from((await Body?.transformToByteArray()) ?? []);
      },
    };
  }

  private nas() {
    const { lab, vmid } = this.deployment;
    return {
      names: lab.nas.list(`ct${vmid}`),
      read: (name: string) => Promise.resolve(fs.readFileSync(lab.nas.file(`ct${vmid}`, name))),
    };
  }

  /** Adds a line to backup.env, which overrides what is there. */
  async set(line: string): Promise<void> {
    await this.shell(`echo ${JSON.stringify(line)} >>${configuration}/backup.env`);
  }

  /** Name of the newest verified dump. */
  async newest(): Promise<string> {
    return [...(await this.look()).verified.keys()][0] ?? assert.fail("there is no verified dump");
  }
}

/** Waits for a partial of that size, halts pg_dump, and prints its id and the size then. In Perl: no process a look. */
const halting = `
my ($directory, $size) = @ARGV;
for (1 .. 20000) {
  for my $file (glob "$directory/.*.dump.partial") {
    next if (-s $file // 0) < $size;
    for my $name (glob "/proc/[0-9]*/comm") {
      open my $handle, "<", $name or next;
      next unless (readline $handle) eq "pg_dump\\n";
      $name =~ /(\\d+)/;
      kill STOP => $1;
      print "$1 ", -s $file;
      exit 0;
    }
  }
  select undef, undef, undef, 0.001;
}
exit 1`;

/** A cell of `--list`, e.g. `s3, NO nas`. */
function readTargets(cell = ""): Target[] {
  return cell.split(", ").filter((each): each is Target => each === "s3" || each === "nas");
}

function describeEnd(result: string, status: string): string {
  if (result === "signal") return `killed by ${signals[status] ?? status}`;
  return result === "timeout" ? "timeout" : status;
}

/** What systemd says of every service that fails. */
const ordinary = /^(-- No entries|.*: Failed with result 'exit-code'\.$|Failed to start )/;

const signals: Readonly<Record<string, string>> = { 9: "KILL", 15: "TERM" };

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}
