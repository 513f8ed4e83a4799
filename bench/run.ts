/**
 * Measures the job beside what people would use instead, in one run: `npm run bench [-- RELEASE… --rounds N --scale S]`.
 * RELEASE is Debian's of the container, bookworm or trixie; default both. N: 5, S: 1, which is a database of 1.1 GB. Writes
 * bench/results.json and, from it, docs/bench.md; `npm run bench -- --report` does only the latter. Takes an hour
 * for each release, on a machine that should have nothing else to do.
 *
 * What is compared takes turns, so that a slow spell of the machine hits all; what is told are medians, and ratios.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { DeleteObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { CommandError } from "../lab/command";
import type { Container } from "../lab/container";
import type { DebianRelease } from "../lab/image";
import { Lab } from "../lab/lab";
import { settingsFor } from "../lab/settings";
import { contenders, dumpToNowhere, job, place, runJob, writeSettings, type Contender } from "./contenders";
import { measure, type Cost } from "./measure";
import { writeReport } from "./report";
import { readResults, writeResults, type Restores, type Run, type Scale, type Series } from "./findings";

const RELEASES: readonly DebianRelease[] = ["bookworm", "trixie"];
const vmids: Readonly<Record<DebianRelease, number>> = { bookworm: 2390, trixie: 2391 };
const bucket = "bench";
const peers = ["autopostgresqlbackup", "borgmatic", "borgbackup", "pgbackrest"];

/** Databases by name: how large, relative to the first, and how many small tables they have besides. */
const databases = [
  { name: "bench", title: "1 GB", scale: 1, tables: 0 },
  { name: "bench_100mb", title: "100 MB", scale: 0.1, tables: 0 },
  { name: "bench_10mb", title: "10 MB", scale: 0.01, tables: 0 },
  { name: "bench_tables", title: "10 MB, and 2,000 small tables", scale: 0.01, tables: 2000 },
] as const;

/** How often in a round two things are measured that are near each other: longer runs even out a machine's moods. */
const pairs = (compression: string): number => (compression === "gzip" ? 1 : 3);

type MutableSeries = { -readonly [Key in keyof Series]: Series[Key] } & { rounds: Cost[]; ratios?: number[] };

interface Options {
  readonly rounds: number;
  readonly scale: number;
  readonly releases: readonly DebianRelease[];
}

class Bench {
  private constructor(
    private readonly lab: Lab,
    private readonly release: DebianRelease,
    private readonly container: Container,
    private readonly options: Options,
  ) {}

  static async prepare(lab: Lab, release: DebianRelease, options: Options): Promise<Bench> {
    const vmid = vmids[release];
    say(`${release}: container ${vmid}`);
    const container = await lab.createContainer(vmid, { debian: release, packages: peers, fresh: true });
    const bench = new Bench(lab, release, container, options);
    await bench.makeDatabases();
    await bench.deploy(vmid);
    return bench;
  }

  private async makeDatabases(): Promise<void> {
    const text = fs.readFileSync(path.join(__dirname, "database.sql"), "utf8");
    for (const { name, scale, tables } of databases) {
      say(`database ${name}`);
      const variables = { database: name, scale: scale * this.options.scale, tables };
      const set = Object.entries(variables).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
      await this.run(["psql", "--no-psqlrc", "--quiet", ...set, "--dbname=postgres"], "postgres", text);
    }
    // What pgBackRest asks for; nothing is archived, so that it disturbs no other.
    await this.shell(`install -d -m 755 ${place}
runuser -u postgres -- psql -qXc "alter system set archive_mode = on" -c "alter system set archive_command = '/bin/true'"
systemctl restart postgresql`);
    await this.container.ready();
  }

  private async deploy(vmid: number): Promise<void> {
    say("pulumi up");
    const settings = {
      ...settingsFor(this.lab, vmid),
      databases: databases.map(({ name }) => name),
      newestRecords: [],
      s3Bucket: `bench-${Date.now()}`, // another one each time: the lab's server forgets none while it runs
    };
    const stack = this.lab.stack(`bench-${vmid}`, settings);
    await stack.cancel();
    await stack.forget();
    await stack.up();
    await this.container.exec(["systemctl", "stop", "trade-show-db-backup.timer"]);
    await this.useGateway();
  }

  /** Starts the server that copies go to, and leaves its key in the container. */
  private async useGateway(): Promise<void> {
    const { lab } = this;
    await lab.s3Gateway.up(bucket, lab.logFile("s3-gateway-build"));
    const { accessKeyId, secretAccessKey } = lab.s3Gateway.key;
    await this.shell(`install -o ${job.account} -m 600 /dev/null ${job.gatewayKey}`);
    const lines = `S3_ACCESS_KEY_ID='${accessKeyId}'\nS3_SECRET_ACCESS_KEY='${secretAccessKey}'\n`;
    await this.run(["tee", job.gatewayKey], "root", lines);
  }

  /** Settings with which copies go there. */
  private get gateway(): string[] {
    const { endpoint } = this.lab.s3Gateway;
    return [`S3_ENDPOINT=${endpoint}`, `S3_BUCKET=${bucket}`, `BACKUP_SECRETS=${job.gatewayKey}`];
  }

  async all(): Promise<Run> {
    const [first] = databases;
    const { prepare, command } = runJob(`DATABASES=(${first.name})`, "S3_BUCKET=");
    await this.shell(prepare);
    await this.shell(`runuser -u ${job.account} -- bash --norc -c '${command}'`);
    const manifest = JSON.parse(await this.shell(`cat ${job.dumps}/${first.name}_*.dump.json`)) as Manifest;
    await this.shell(
      `echo ${manifest.compression === "gzip" ? "" : `--compress=${manifest.compression}`} >${place}/compression`,
    );
    const backups = await this.compare(manifest.compression);
    const put = await this.putAlone();
    const scales = await this.scales();
    const restores = await this.restores();
    return {
      date: new Date().toISOString(),
      machine: describeMachine(),
      debian: (await this.shell(". /etc/os-release; echo $PRETTY_NAME")).trim(),
      postgres: (await this.sql("show server_version")).trim(),
      compression: manifest.compression,
      size: await this.sizeOf(first.name),
      backups,
      put,
      scales,
      restores,
    };
  }

  private async compare(compression: string): Promise<Record<string, Series>> {
    const [first] = databases;
    const [limit, ...others] = contenders(first.name, this.gateway, compression);
    const found: Record<string, MutableSeries> = {};
    const seriesOf = ({ name, title, beside }: Contender): MutableSeries =>
      (found[name] ??= { title, ...(beside && { beside, ratios: [] }), rounds: [], bytes: 0 });
    const all = [limit, ...others];
    for (const each of all) seriesOf(each);
    for (let round = 0; round < this.options.rounds; round++) {
      const wanted = turn(others, round).flatMap((each) =>
        Array<Contender>(each.beside ? pairs(compression) : 1).fill(each),
      );
      for (const each of wanted) {
        const other = all.find(({ name }) => name === each.beside);
        const before = other && (await this.once(other));
        if (other && before) seriesOf(other).rounds.push(before);
        const cost = await this.once(each);
        const series = seriesOf(each);
        series.rounds.push(cost);
        series.bytes = Number((await this.shell(each.bytes)).trim());
        if (before) series.ratios?.push(cost.seconds / before.seconds);
        const beside = before ? `, ${each.beside ?? ""} ${before.seconds.toFixed(1)} s` : "";
        say(`round ${round + 1}: ${each.name} ${cost.seconds.toFixed(1)} s${beside}`);
        await this.emptyBucket();
      }
      await this.shell(`rm -rf ${place}/{gzip,autopostgresqlbackup,borgmatic,pgbackrest}`);
    }
    return found;
  }

  /** As little of the disk's and the server's past as can be: what is dirty is written before. */
  private async once({ account, prepare, command }: Omit<Contender, "name" | "title" | "bytes">): Promise<Cost> {
    await this.shell(prepare);
    await this.shell("sync");
    const { s3Gateway } = this.lab;
    const before = { cpu: s3Gateway.cpuSeconds, joining: s3Gateway.joiningSeconds };
    const cost = await measure(this.container, account, command);
    const joiningSeconds = s3Gateway.joiningSeconds - before.joining;
    return {
      ...cost,
      serverCpuSeconds: s3Gateway.cpuSeconds - before.cpu,
      ...(joiningSeconds > 0 && { joiningSeconds }),
    };
  }

  private async putAlone(): Promise<Cost[]> {
    const script = fs.readFileSync(path.join(__dirname, "putAlone.sh"), "utf8");
    await this.run(["tee", `${place}/putAlone.sh`], "root", script);
    const { prepare, command } = runJob(`DATABASES=(${databases[0].name})`, "S3_BUCKET=");
    const costs: Cost[] = [];
    for (let round = 0; round < this.options.rounds; round++) {
      await this.once({ account: job.account, prepare, command });
      const put = `BACKUP_ENV=${job.settings} bash ${place}/putAlone.sh ${job.library} ${job.dumps}/*.dump`;
      const cost = await this.once({ account: job.account, prepare: writeSettings(...this.gateway), command: put });
      costs.push(cost);
      say(`round ${round + 1}: PUT alone ${cost.seconds.toFixed(1)} s`);
      await this.emptyBucket();
    }
    return costs;
  }

  private async scales(): Promise<Scale[]> {
    const found: Scale[] = [];
    for (const { name, title } of databases) {
      const limit: Cost[] = [];
      const costs: Cost[] = [];
      for (let round = 0; round < this.options.rounds; round++) {
        limit.push(await this.once({ account: job.account, prepare: "true", command: dumpToNowhere(name) }));
        costs.push(await this.once({ account: job.account, ...runJob(`DATABASES=(${name})`, "S3_BUCKET=") }));
      }
      say(`scale: ${title}`);
      const tables = Number(await this.sql("select count(*) from pg_class where relkind = 'r' and oid > 16383", name));
      found.push({ title, size: await this.sizeOf(name), tables, limit, job: costs });
    }
    return found;
  }

  private async restores(): Promise<Restores> {
    const { name } = databases[0];
    const night = { account: job.account, ...runJob(`DATABASES=(${name})`, "S3_BUCKET=") };
    await this.once(night);
    const raw: number[] = [];
    const restore: number[] = [];
    const drill: number[] = [];
    const verify: number[] = [];
    const env = `BACKUP_ENV=${job.settings}`;
    for (let round = 0; round < this.options.rounds; round++) {
      const dump = (await this.shell(`ls ${job.dumps}/*.dump`)).trim();
      const drop = `runuser -u postgres -- dropdb --if-exists copy`;
      const pg = `createdb --template=template0 copy && pg_restore --no-owner --exit-on-error --dbname=copy ${dump}`;
      raw.push((await this.once({ account: "postgres", prepare: drop, command: pg })).seconds);
      const own = `${env} ${job.library}/restore.sh --file ${dump} --new copy`;
      const whole = (await this.once({ account: "root", prepare: drop, command: own })).seconds;
      const check = `${env} ${job.library}/verify.sh --database copy --manifest ${dump}.json`;
      const verified = (await this.once({ account: "root", prepare: "true", command: check })).seconds;
      verify.push(verified);
      restore.push(whole - verified);
      await this.once({ account: "root", prepare: drop, command: `${env} ${job.library}/drill.sh` });
      const report = JSON.parse(
        await this.shell(`cat "$(ls -t ${job.state}/drills/*.json | head -n 1)"`),
      ) as DrillReport;
      const [of] = report.databases;
      drill.push((of?.seconds ?? NaN) - (of?.took.verify ?? NaN));
      say(
        `round ${round + 1}: pg_restore ${raw.at(-1)?.toFixed(1)} s, restore ${whole.toFixed(1)} s, verify ${verified.toFixed(1)} s, drill ${drill.at(-1)?.toFixed(1)} s without its verification`,
      );
    }
    await this.shell(`runuser -u postgres -- dropdb --if-exists copy`);
    return { raw, restore, drill, verify };
  }

  private async sizeOf(database: string): Promise<number> {
    return Number(await this.sql(`select pg_database_size('${database}')`));
  }

  private async sql(statement: string, database = "postgres"): Promise<string> {
    return this.run(["psql", "-XAtqc", statement, `--dbname=${database}`], "postgres");
  }

  private async shell(lines: string): Promise<string> {
    return this.run(["bash", "--norc", "-euo", "pipefail", "-c", lines]);
  }

  private async run(argv: readonly string[], user = "root", input?: string): Promise<string> {
    const result = await this.container.exec(argv, { user, input: input ?? "", timeout: 3_600_000 });
    if (result.code !== 0) throw new CommandError(argv, result);
    return result.stdout;
  }

  /** The server keeps what it is given in memory. */
  private async emptyBucket(): Promise<void> {
    const s3 = this.lab.s3Gateway.client();
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: bucket }));
    for (const { Key } of Contents) await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key }));
  }

  async remove(): Promise<void> {
    await this.lab.destroyContainer(vmids[this.release]);
  }
}

interface Manifest {
  readonly compression: string;
}

interface DrillReport {
  readonly databases: readonly { readonly seconds: number; readonly took: Readonly<Record<string, number>> }[];
}

/** Another one first in each round. */
function turn<T>(all: readonly T[], round: number): T[] {
  const first = round % all.length;
  return [...all.slice(first), ...all.slice(0, first)];
}

function describeMachine(): string {
  const model = os.cpus()[0]?.model ?? "unknown processor";
  return `${os.availableParallelism()} cores (${model}), ${Math.round(os.totalmem() / 2 ** 30)} GiB, Linux ${os.release()}`;
}

function say(text: string): void {
  console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);
}

function readOptions(args: readonly string[]): Options {
  const value = (name: string, usual: number): number => {
    const at = args.indexOf(name);
    const given = at < 0 ? usual : Number(args[at + 1]);
    if (!(given > 0)) throw new Error(`${name} is '${args[at + 1] ?? ""}': must be a number above 0`);
    return given;
  };
  const unknown = args.find(
    (each, at) =>
      !/^--(rounds|scale)$/.test(args[at - 1] ?? "") && !["--rounds", "--scale", ...RELEASES].includes(each),
  );
  if (unknown !== undefined) throw new Error(`'${unknown}' is none of: ${RELEASES.join(", ")}, --rounds N, --scale S`);
  const wanted = RELEASES.filter((each) => args.includes(each));
  return {
    rounds: value("--rounds", 5),
    scale: value("--scale", 1),
    releases: wanted.length > 0 ? wanted : RELEASES,
  };
}

async function main(args: readonly string[]): Promise<void> {
  if (args.join(" ") === "--report") return writeReport();
  const options = readOptions(args);
  const lab = await Lab.open(process.env.PGBACKUP_LAB ?? "bench");
  try {
    for (const release of options.releases) {
      const bench = await Bench.prepare(lab, release, options);
      const run = await bench.all();
      writeResults({ ...readResults(), [release]: run });
      await bench.remove();
    }
  } finally {
    await lab.s3Gateway.down(); // what it keeps is in memory
  }
  writeReport();
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
