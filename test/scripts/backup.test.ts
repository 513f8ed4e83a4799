import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { Cluster, start, until } from "./cluster";
import { S3Server, secretKey } from "./s3Server";
import { scripts, Site } from "./site";

describe("backup.sh", function () {
  let cluster: Cluster;
  let site: Site;
  let s3: S3Server;
  let endpoint: string;

  before(() => {
    cluster = new Cluster();
    cluster.createDatabase(
      "shop",
      `create table events (id int primary key, name text);
       create table expenses (id serial primary key, event int references events, amount numeric, created_at timestamptz);
       insert into events select i, 'event ' || i from generate_series(1, 20) i;
       insert into expenses (event, amount, created_at)
         select 1 + i % 20, i, timestamptz '2026-01-01' + i * interval '1 minute' from generate_series(1, 3000) i`,
    );
    // Incompressible enough that pg_dump is caught in the middle.
    cluster.createDatabase(
      "large",
      `create table blobs as select i, string_agg(md5(random()::text), '') as text
         from generate_series(1, 60000) i, generate_series(1, 16) j group by i`,
    );
  });

  beforeEach(async () => {
    s3 = new S3Server();
    endpoint = await s3.listen();
  });

  afterEach(() => {
    s3.close();
    site.remove();
  });

  after(() => cluster.stop());

  const withS3 = (settings: Record<string, string> = {}): Record<string, string> => ({
    S3_BUCKET: "bucket",
    S3_ENDPOINT: endpoint,
    ...settings,
  });

  /** Starts a night on the large database and halts its pg_dump in the middle of the data. */
  async function haltMidway(): Promise<{ readonly pid: number; readonly night: ReturnType<Site["start"]> }> {
    const night = site.start("backup.sh");
    const pid = await until("pg_dump has written part of the dump", () => {
      const [found] = site.processes("pg_dump");
      const partial = site.files.find((file) => file.endsWith(".dump.partial"));
      return found !== undefined && partial !== undefined && fs.statSync(path.join(site.dumps, partial)).size > 100_000
        ? found
        : undefined;
    });
    process.kill(pid, "SIGSTOP");
    return { pid, night };
  }

  describe("a good night", () => {
    it("leaves a dump and a manifest that tells the truth about it", async () => {
      site = new Site(cluster, ["shop"]);
      const began = Date.now();
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      const [dump = ""] = site.dumpFiles;
      assert.match(dump, /^shop_\d{8}T\d{6}Z\.dump$/);
      assert.deepEqual(site.files, [dump, `${dump}.json`]);
      const manifest = site.manifest(dump);
      const stat = fs.statSync(path.join(site.dumps, dump));
      const { started, ended, snapshot, structure, database_size: bytes, ...rest } = manifest;
      assert.ok(Math.abs(bytes - Number(cluster.sql("postgres", "select pg_database_size('shop')"))) < 1_000_000);
      const version = (program: string): string => execFileSync(program, ["--version"], { encoding: "utf8" }).trim();
      assert.deepEqual(rest, {
        ...{ format: 1, database: "shop", owner: "app", encoding: "UTF8", collate: "C.UTF-8", ctype: "C.UTF-8" },
        application: { role: "app", login: false, tables: 2, reads: "public.events" },
        ...{ role: cluster.role, machine: os.hostname(), compression: "gzip", file: dump, label: null },
        server_version: cluster.sql("shop", "show server_version"),
        client_version: version("pg_dump"),
        ...{ size: stat.size, sha256: site.sha256(dump), warnings: [] },
        ...{ counted: "all", tables: { "public.events": 20, "public.expenses": 3000 } },
        ...{ extension_tables: {}, newest: [], checksums: {}, orphans: {} },
      });
      const times = [started, ended].map((time) => {
        assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        return Date.parse(time);
      });
      const order = [began, ...times, Date.now()];
      assert.deepEqual(
        order,
        [...order].sort((a, b) => a - b),
        "began, then ended, while the night ran",
      );
      assert.match(snapshot, /^[0-9A-F]{8}-[0-9A-F]{8}-1$/);
      assert.deepEqual(structure["table"], { "public.events": "there", "public.expenses": "there" });
      assert.equal((stat.mode & 0o777).toString(8), "640");
      assert.equal(
        execFileSync("stat", ["-c", "%U:%G", path.join(site.dumps, dump)], { encoding: "utf8" }).trim(),
        `${cluster.role}:postgres`,
      );
      assert.deepEqual(fs.readdirSync(site.state), ["lock"]);
    });

    it("writes the globals last, by which restores find those of a dump's night", async () => {
      site = new Site(cluster, ["shop", "large"]);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      const stamp = site.globals[0]?.replace(/^globals_|\.sql$/g, "") ?? "";
      const ended = site.dumpFiles.map((dump) => site.manifest(dump).ended.replace(/[-:]|\.\d+/g, ""));
      assert.equal(ended.length, 2);
      for (const end of ended) assert.ok(end <= stamp, `${end} is after ${stamp}`);
    });

    it("tells what pg_dump warned of, in the manifest and in the journal", async () => {
      site = new Site(cluster, ["shop"]);
      site.shadow(
        "pg_dump",
        `if [[ "$*" == *--snapshot* ]]; then echo "pg_dump: warning: something is odd" >&2; fi; exec /usr/bin/pg_dump "$@"`,
      );
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      assert.deepEqual(site.manifest(site.dumpFiles[0] ?? "").warnings, ["pg_dump: warning: something is odd"]);
      assert.match(night.stderr, /^shop: warning: pg_dump: warning: something is odd$/m);
    });

    it("counts the rows of the dump's own moment while the database is written to", async () => {
      site = new Site(cluster, ["shop"]);
      const stop = path.join(site.root, "stop");
      const writer = start(
        "runuser",
        [
          "-u",
          "postgres",
          "--",
          "bash",
          "-c",
          `while [[ ! -e '${stop}' ]]; do
           echo "insert into expenses (event) values (1); delete from events where id = -1;"
         done | psql -Xq -d shop`,
        ],
        cluster.env,
      );
      try {
        const rows = (): number => Number(cluster.sql("shop", "select count(*) from public.expenses"));
        const before = await until("the writer writes", () => rows() > 3000 && rows());
        const night = await site.run("backup.sh");
        assert.equal(night.code, 0, night.stderr);
        const counted = site.manifest(site.dumpFiles[0] ?? "").tables["public.expenses"] ?? 0;
        assert.ok(counted >= before && counted < rows(), `${before} <= ${counted} < ${rows()}`);
      } finally {
        fs.writeFileSync(stop, "");
        await writer.outcome;
      }
      const restored = await site.run("restore.sh", ["latest", "--database", "shop", "--new", "shop_moment"]);
      assert.equal(restored.code, 0, restored.stderr + restored.stdout);
    });
  });

  describe("a night that fails", () => {
    it("pg_dump killed midway: no partial, the earlier dump intact, and the next night is good", async () => {
      site = new Site(cluster, ["large", "shop"]);
      assert.equal((await site.run("backup.sh")).code, 0);
      const earlier = site.files;
      const hash = site.sha256(earlier[0] ?? "");
      const { pid, night } = await haltMidway();
      process.kill(pid, "SIGKILL");
      const outcome = await night.outcome;
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, /large: error: pg_dump ended with signal KILL/);
      assert.match(outcome.stderr, /the night failed for: 'large'/);
      assert.equal(site.sha256(earlier[0] ?? ""), hash);
      const added = site.files.filter((file) => !earlier.includes(file));
      assert.match(
        added.join(" "),
        /^shop_\w+\.dump shop_\w+\.dump\.json$/,
        "the other database is still dumped, nothing else is left",
      );
      assert.equal((await site.run("backup.sh")).code, 0);
    });

    it("stopped by systemd (TERM to every process) and told so again: children gone, no partial", async () => {
      site = new Site(cluster, ["large"]);
      const { pid, night } = await haltMidway();
      // All that systemd would reach, not root's way into the account.
      const stop = (): void => ["bash", "perl", "pg_dump"].forEach((name) => site.signal("SIGTERM", name));
      stop();
      await until("the program beside pg_dump has ended", () => site.processes("perl").length === 0);
      stop();
      process.kill(pid, "SIGCONT");
      const outcome = await night.outcome;
      assert.equal(outcome.code, 143, outcome.stderr);
      assert.match(outcome.stderr, /stopped by a signal; partials removed/);
      assert.deepEqual(site.files, []);
      assert.deepEqual(site.processes(), []);
    });

    it("a run cut off by kill -9 leaves a partial, which the next run removes", async () => {
      site = new Site(cluster, ["large"]);
      const { night } = await haltMidway();
      site.signal("SIGKILL"); // everything at once, as when the power goes
      await night.outcome;
      await until("all of it is gone", () => site.processes().length === 0);
      assert.match(site.files.join(), /^\.large_\w+\.dump\.partial$/);
      const left = path.join(site.dumps, site.files[0] ?? "");
      fs.renameSync(left, left.replace(/_\w+\.dump/, "_20260101T000000Z.dump")); // the next run may be in the same second
      fs.writeFileSync(path.join(site.dumps, ".manual_x.dump.partial"), "an operator's own");
      const next = await site.run("backup.sh");
      assert.equal(next.code, 0, next.stderr);
      assert.match(next.stderr, /removed .*\.partial, left by a run that was cut off/);
      const hidden = site.files.filter((file) => file.startsWith("."));
      assert.deepEqual(hidden, [".manual_x.dump.partial"]);
    });

    it("a second start is refused, naming the first one's pid, and harms nothing", async () => {
      site = new Site(cluster, ["large"]);
      const { pid, night } = await haltMidway();
      const holder = fs.readFileSync(path.join(site.state, "lock"), "utf8").trim();
      const second = await site.run("backup.sh");
      process.kill(pid, "SIGCONT");
      assert.equal(second.code, 3, second.stderr);
      assert.match(second.stderr, new RegExp(`another run is active \\(pid ${holder},`));
      const first = await night.outcome;
      assert.equal(first.code, 0, first.stderr);
    });

    it("what arrives on disk other than pg_dump wrote it never becomes a dump", async () => {
      site = new Site(cluster, ["shop"]);
      site.shadow("perl", '/usr/bin/perl "$@"; printf x');
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1);
      assert.match(night.stderr, /shop: error: what is on disk is not what pg_dump wrote: SHA-256 \w+, must be \w+/);
      assert.deepEqual(site.files, []);
    });

    it("is read back from the disk piece by piece while it grows, all of it once", () => {
      site = new Site(cluster, ["shop"]);
      const file = path.join(site.root, "growing");
      const program = `set -Eeuo pipefail
        for part in log signals content growing dump; do . '${scripts}/lib/'$part.sh; done
        READ_STEP=100000; cd '${site.root}'; : >growing; open_gate ENDED ended
        settle_on_disk() { stat -c %s growing >>settled; }
        print_stored growing >stored & reader=$!
        while (($(stat -c %s growing) < 3000000)); do head -c 7777 /dev/urandom >>growing; done
        close_gate ENDED; wait "$reader"`;
      execFileSync("bash", ["-c", program]);
      const content = fs.readFileSync(file);
      assert.ok(content.equals(fs.readFileSync(path.join(site.root, "stored"))));
      const pieces = fs.readFileSync(path.join(site.root, "settled"), "utf8").trim().split("\n").map(Number);
      assert.ok(pieces.length > 1, "more than one piece");
      assert.equal(pieces.at(-1), content.length);
    });

    it("an unreadable table is named", async () => {
      cluster.createDatabase("walled", "create table secret (id int); alter table secret enable row level security");
      site = new Site(cluster, ["walled"]);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1);
      assert.match(night.stderr, /row-level security.*"?secret/);
      assert.deepEqual(site.files, []);
      assert.match(night.stderr, /globals: written and verified/, "all the same");
      assert.equal(site.globals.length, 1);
    });

    it("a missing database, a wrong directory mode, an unknown option each say what is right", async () => {
      site = new Site(cluster, ["nowhere"]);
      assert.match(
        (await site.run("backup.sh")).stderr,
        /cannot log in to database 'nowhere' as role .*does not exist/,
      );
      fs.chmodSync(site.dumps, 0o777);
      const wrong = await site.run("backup.sh");
      assert.equal(wrong.code, 1);
      assert.match(wrong.stderr, /is \w+:postgres 777: must be \w+:postgres 3770/);
      const option = await site.run("backup.sh", ["--frobnicate"]);
      assert.equal(option.code, 2);
      assert.match(option.stderr, /unknown option '--frobnicate' \(try --help\)/);
    });

    const broken: [string, Record<string, string>, RegExp][] = [
      [
        "retention 0",
        { RETENTION_DAYS: "0" },
        /backup\.env line \d+: RETENTION_DAYS is '0': must be a whole number of days/,
      ],
      ["prefix without /", { S3_PREFIX: "ct" }, /line \d+: S3_PREFIX is 'ct': must be .* ending in \//],
      ["relative path", { BACKUP_DIRECTORY: "dumps" }, /BACKUP_DIRECTORY is 'dumps': must be an absolute path/],
    ];
    for (const [what, settings, message] of broken) {
      it(`a wrong setting (${what}) is named with its line, value and what is right`, async () => {
        site = new Site(cluster, ["shop"], settings);
        const night = await site.run("backup.sh");
        assert.equal(night.code, 1);
        assert.match(night.stderr, message);
      });
    }

    it("a settings file that is missing, broken, or writable by others is refused", async () => {
      site = new Site(cluster, ["shop"]);
      fs.appendFileSync(site.settingsFile, "S3_REGION='unfinished\n");
      assert.match((await site.run("backup.sh")).stderr, /backup\.env line \d+: bash cannot read it/);
      site.configure({});
      fs.chmodSync(site.settingsFile, 0o666);
      assert.match((await site.run("backup.sh")).stderr, /has mode 666: must not be writable/);
      fs.rmSync(site.settingsFile);
      assert.match((await site.run("backup.sh")).stderr, /does not exist: run pulumi up/);
    });
  });

  describe("retention", () => {
    it("removes old verified dumps; never the newest, unverified or manual ones", async () => {
      site = new Site(cluster, ["shop"]);
      assert.equal((await site.run("backup.sh")).code, 0);
      const old = site.age(site.dumpFiles[0] ?? "", 15);
      assert.equal((await site.run("backup.sh")).code, 0);
      assert.ok(
        !site.files.includes(old) && !site.files.includes(`${old}.json`),
        "15 days old and not the newest: gone",
      );
      const kept = site.age(site.dumpFiles[0] ?? "", 13);
      const unverified = kept.replace(/_\w+\.dump/, "_20200101T000000Z.dump");
      fs.writeFileSync(path.join(site.dumps, unverified), "no manifest");
      fs.writeFileSync(path.join(site.dumps, "manual_20200101_000000.dump"), "mine");
      fs.utimesSync(path.join(site.dumps, "manual_20200101_000000.dump"), 0, 0);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      for (const file of [kept, unverified, "manual_20200101_000000.dump"]) assert.ok(site.files.includes(file), file);
      assert.match(night.stderr, /20200101T000000Z\.dump has no manifest that fits/);
    });

    it("takes a dump from the future, made while the clock was ahead, for the oldest, and tells of it", async () => {
      site = new Site(cluster, ["shop"]);
      assert.equal((await site.run("backup.sh")).code, 0);
      const future = site.age(site.dumpFiles[0] ?? "", -365);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      assert.match(
        night.stderr,
        new RegExp(`warning: .*/${future} is from the future: it was made while the clock was ahead`),
      );
      const [newest = ""] = site.dumpFiles.filter((file) => file !== future);
      const plan = await site.run("restore.sh", ["latest", "--database", "shop", "--new", "again", "--plan"]);
      assert.ok(plan.stdout.includes(newest) && !plan.stdout.includes(future), plan.stdout + plan.stderr);
      assert.ok(site.files.includes(future));
    });

    it("removes half of all dumps at most in a night, the oldest first, should a clock find them all too old", async () => {
      site = new Site(cluster, ["shop"], { RETENTION_DAYS: "100" });
      const aged: string[] = [];
      for (const days of [24, 23, 22, 21]) {
        assert.equal((await site.run("backup.sh")).code, 0);
        aged.push(site.age(site.dumpFiles.find((file) => !aged.includes(file)) ?? "", days));
      }
      site.configure({});
      const removed = (text: string): string[] => text.match(/(?<=removed? )shop_\S+(?=, older than 14 days)/g) ?? [];
      for (const expected of [aged.slice(0, 2), aged.slice(2)]) {
        assert.deepEqual(removed((await site.run("backup.sh", ["--dry-run"])).stdout), expected);
        const night = await site.run("backup.sh");
        assert.equal(night.code, 0, night.stderr);
        assert.deepEqual(removed(night.stderr), expected);
        assert.ok(!expected.some((file) => site.files.includes(file)));
      }
      assert.equal(site.dumpFiles.length, 2);
    });

    it("removes nothing on a night that failed, not even for a database that was fine", async () => {
      site = new Site(cluster, ["shop"]);
      assert.equal((await site.run("backup.sh")).code, 0);
      const old = site.age(site.dumpFiles[0] ?? "", 30);
      site = Object.assign(site, { databases: ["shop", "nowhere"] });
      site.configure({});
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1);
      assert.ok(site.files.includes(old));
      assert.equal(site.dumpFiles.length, 2);
    });

    it("never removes the newest verified dump, however old", async () => {
      site = new Site(cluster, ["shop"], { RETENTION_DAYS: "1" });
      assert.equal((await site.run("backup.sh")).code, 0);
      const old = site.age(site.dumpFiles[0] ?? "", 400);
      const library = path.resolve(__dirname, "../../scripts/lib");
      const outcome = await start(
        "bash",
        [
          "-c",
          `set -eu; export LC_ALL=C; for part in log names dump manifest retention; do . "${library}/$part.sh"; done
           BACKUP_DIRECTORY='${site.dumps}' RETENTION_DAYS=1; remove_expired shop`,
        ],
        cluster.env,
      ).outcome;
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.deepEqual(site.dumpFiles, [old]);
    });
  });

  describe("off-host", () => {
    it("puts the dump, then its manifest, and only then tags the previous copy as superseded", async () => {
      site = new Site(cluster, ["shop"], withS3());
      for (let night = 1; night <= 2; night++) {
        const outcome = await site.run("backup.sh");
        assert.equal(outcome.code, 0, outcome.stderr);
      }
      const [first, second] = site.dumpFiles;
      const url = (file: string | undefined, rest = ""): string => `/bucket/ct2320/${file}${rest}`;
      const ofDatabase = s3.accepted.filter((request) => !request.url.includes("/globals_"));
      assert.deepEqual(
        ofDatabase.map((request) => request.url),
        [
          url(first),
          url(first, ".json"),
          url(second),
          url(second, ".json"),
          url(first, ".json?tagging="),
          url(first, "?tagging="),
        ],
      );
      assert.deepEqual(ofDatabase[0]?.body, fs.readFileSync(path.join(site.dumps, first ?? "")));
      assert.match(ofDatabase[5]?.body.toString() ?? "", /<Key>superseded<\/Key><Value>true<\/Value>/);
      assert.equal(ofDatabase[5]?.method, "PUT");
    });

    it("takes a copy from the future for the oldest: it is superseded, and never the copy of tonight", async () => {
      site = new Site(cluster, ["shop"], withS3());
      assert.equal((await site.run("backup.sh")).code, 0);
      const [first = ""] = site.dumpFiles;
      const future = site.age(first, -365);
      const entry = (dump: string): string => path.join(site.state, "off-host", "s3", `${dump}.json`);
      fs.writeFileSync(entry(future), fs.readFileSync(entry(first), "utf8").replaceAll(first, future));
      execFileSync("chown", [cluster.role, entry(future)]);
      fs.rmSync(entry(first));
      for (const suffix of ["", ".json"]) {
        s3.objects.set(
          `/bucket/ct2320/${future}${suffix}`,
          s3.objects.get(`/bucket/ct2320/${first}${suffix}`) ?? Buffer.of(),
        );
      }
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      const tagged = s3.urls.filter((url) => url.includes("/shop_") && url.endsWith("?tagging="));
      assert.deepEqual(
        tagged,
        [".json", ""].map((suffix) => `/bucket/ct2320/${future}${suffix}?tagging=`),
      );
    });

    const faults: [string, "deny" | "cut" | "stall" | "flip", string, RegExp][] = [
      ["403 for the dump", "deny", ".dump", /PUT http.*\.dump: refused with HTTP 403 AccessDenied/],
      ["403 for the manifest", "deny", ".dump.json", /PUT http.*\.dump\.json: refused with HTTP 403/],
      ["connection cut", "cut", ".dump", /off-host copy: PUT .*curl/],
      ["server stalls", "stall", ".dump", /stalled or unreachable/],
      ["bit flipped on the way", "flip", ".dump", /refused with HTTP 400 XAmzContentSHA256Mismatch/],
    ];
    for (const [what, kind, match, message] of faults) {
      it(`${what}: the night fails, the local dump stays, nothing is superseded, the next night makes it good`, async () => {
        site = new Site(cluster, ["shop"], withS3());
        assert.equal((await site.run("backup.sh")).code, 0);
        if (kind === "stall") site.configure(withS3({ S3_STALL_SECONDS: "2" }));
        s3.fault = { kind, match };
        const bad = await site.run("backup.sh");
        assert.equal(bad.code, 1, bad.stderr);
        assert.match(bad.stderr, message);
        assert.ok(!bad.stderr.includes(secretKey));
        assert.equal(site.dumpFiles.length, 2);
        assert.ok(!s3.urls.some((url) => url.includes(".dump") && url.includes("tagging")));
        s3.fault = undefined;
        site.configure(withS3());
        const good = await site.run("backup.sh");
        assert.equal(good.code, 0, good.stderr);
        for (const dump of site.dumpFiles) assert.ok(s3.urls.includes(`/bucket/ct2320/${dump}.json`), dump);
        const tagged = s3.urls.filter((url) => url.endsWith(".dump?tagging="));
        assert.equal(tagged.length, 2, "both older copies, not the newest");
        assert.ok(!tagged.some((url) => url.includes(site.dumpFiles[2] ?? "?")));
      });
    }

    it("keeps the secret out of every argument list and message", async () => {
      site = new Site(cluster, ["shop"], withS3());
      const record = path.join(site.state, "argv");
      site.shadow("curl", `tr '\\0' ' ' </proc/$$/cmdline >>'${record}'; env >>'${record}'; exec /usr/bin/curl "$@"`);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      const seen = fs.readFileSync(record, "utf8") + night.stderr + night.stdout;
      assert.match(seen, /--aws-sigv4/);
      assert.ok(!seen.includes(secretKey) && !seen.includes("s3cr"));
    });

    it("a broken secrets file is named without showing what is in it", async () => {
      site = new Site(cluster, ["shop"], withS3());
      fs.writeFileSync(site.secretsFile, "S3_SECRET_ACCESS_KEY='hidden\n");
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1);
      assert.match(night.stderr, /secrets\.env line \d+: bash cannot read it/);
      assert.ok(!night.stderr.includes("hidden"));
    });
  });
});
