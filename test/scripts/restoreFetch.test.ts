import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, findProcesses, start, until, type Outcome } from "./cluster";
import { NasCopies, S3Copies, type OffHost } from "./offHost";
import { scripts, Site } from "./site";

const older = "shop_20260101T020000Z.dump";
const encrypted = "shop_20260102T020000Z.dump";

/** A night's dump, laid off-host under any name and time, and a site to restore to. */
class Fetching {
  readonly site: Site;
  readonly dump: string;
  readonly globals: string;
  readonly identity: string;
  readonly content: Buffer;
  readonly roles: Buffer;

  private constructor(
    readonly cluster: Cluster,
    readonly copies: OffHost,
    site: Site,
  ) {
    this.site = site;
    [this.dump = ""] = site.dumpFiles;
    [this.globals = ""] = site.globals;
    this.content = fs.readFileSync(path.join(site.dumps, this.dump));
    this.roles = fs.readFileSync(path.join(site.dumps, this.globals));
    this.manifests = new Map(
      [this.dump, this.globals].map((name) => [
        path.extname(name),
        JSON.parse(fs.readFileSync(path.join(site.dumps, `${name}.json`), "utf8")) as object,
      ]),
    );
    this.identity = path.join(site.root, "identity");
    execFileSync("age-keygen", ["-o", this.identity], { stdio: "ignore" });
  }

  private readonly manifests: ReadonlyMap<string, object>;

  static async prepare(copiesFor: (role: string) => OffHost): Promise<Fetching> {
    const cluster = new Cluster();
    cluster.createDatabase("shop", "create table t (id int primary key); insert into t select generate_series(1, 500)");
    const copies = copiesFor(cluster.role);
    await copies.start();
    const site = new Site(cluster, ["shop"]);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    site.configure(copies.settings);
    return new Fetching(cluster, copies, site);
  }

  async remove(): Promise<void> {
    await this.copies.stop();
    this.site.remove();
    this.cluster.stop();
  }

  /** What is off-host: an old dump and the newest; here: nothing. */
  reset(): void {
    for (const file of fs.readdirSync(this.site.dumps)) fs.rmSync(path.join(this.site.dumps, file));
    for (const file of fs.readdirSync(this.site.programs)) fs.rmSync(path.join(this.site.programs, file));
    this.copies.clear();
    this.store(older, "2026-01-01T02:00:00.000Z");
    this.store(this.dump, new Date().toISOString());
  }

  manifestOf(file: string, started: string, object = file): object {
    return { ...this.manifests.get(path.extname(file)), file, started, off_host: { file: object } };
  }

  store(file: string, started: string, object = file, bytes = this.contentOf(file), more: object = {}): void {
    this.copies.put(object, bytes);
    const manifest = { ...this.manifestOf(file, started, object), ...more };
    this.copies.put(`${file}.json`, Buffer.from(JSON.stringify(manifest)));
  }

  private contentOf(file: string): Buffer {
    return file.endsWith(".sql") ? this.roles : this.content;
  }

  get recipient(): string {
    return execFileSync("age-keygen", ["-y", this.identity], { encoding: "utf8" }).trim();
  }

  encrypt(bytes: Buffer): Buffer {
    return execFileSync("age", ["-r", this.recipient], { input: bytes });
  }

  get environment(): NodeJS.ProcessEnv {
    const { env } = this.cluster;
    return { ...env, PATH: `${this.site.programs}:${env["PATH"]}`, BACKUP_ENV: this.site.settingsFile };
  }

  start(args: readonly string[], env: NodeJS.ProcessEnv, input = ""): ReturnType<typeof start> {
    const all = [...args, "--from", this.copies.from];
    return start(path.join(scripts, "restore.sh"), all, { ...this.environment, ...env }, input);
  }

  run(args: readonly string[], env: NodeJS.ProcessEnv = this.copies.reader, input = ""): Promise<Outcome> {
    return this.start(args, env, input).outcome;
  }

  async refuses(args: string[], message: RegExp, input = "", env?: NodeJS.ProcessEnv): Promise<void> {
    const outcome = await this.run([...args, "--new", "never"], env, input);
    assert.equal(outcome.code, 1, outcome.stderr);
    assert.match(outcome.stderr, message);
    assert.deepEqual(fs.readdirSync(this.site.dumps), []);
    assert.equal(this.cluster.sql("postgres", "select count(*) from pg_database where datname = 'never'"), "0");
  }
}

const sources: readonly [string, (role: string) => OffHost][] = [
  ["s3", () => new S3Copies()],
  ["nas", (role) => new NasCopies(role)],
];

for (const [from, copiesFor] of sources) {
  describe(`restore.sh --from ${from}`, function () {
    let fetching: Fetching;
    let site: Site;
    let cluster: Cluster;
    let copies: OffHost;

    before(async () => {
      fetching = await Fetching.prepare(copiesFor);
      ({ site, cluster, copies } = fetching);
    });
    beforeEach(() => fetching.reset());
    after(() => fetching.remove());

    it("backup.sh --list --from shows what is there: whole or not, here or not; what is half uploaded is nothing", async () => {
      fetching.store(encrypted, "2026-01-02T02:00:00.000Z", `${encrypted}.age`, fetching.content);
      copies.remove(`${encrypted}.age`);
      copies.put("shop_20260103T020000Z.dump", fetching.content);
      copies.put("shop_20260104T020000Z.dump.json", Buffer.from("{}"));
      assert.equal((await fetching.run(["--file", older, "--fetch"])).code, 0);
      const list = (...args: string[]): Promise<Outcome> =>
        start(path.join(scripts, "backup.sh"), args, { ...fetching.environment, ...copies.reader }).outcome;
      const listed = await list("--list", "--from", copies.from);
      assert.equal(listed.code, 0, listed.stderr);
      const [heads = [], ...rows] = listed.stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.trim().split(/ {2,}/));
      assert.deepEqual(heads, ["TIME (UTC)", "DATABASE", "SIZE", "ROWS", "LABEL", "WHOLE", "HERE", "FILE"]);
      const size = rows[0]?.[2];
      assert.match(String(size), /^[\d.]+KB$/);
      assert.deepEqual(rows, [
        [rows[0]?.[0], "shop", size, "500", "-", "yes", "-", fetching.dump],
        ["2026-01-02 02:00:00", "shop", size, "500", "-", "NO", "-", encrypted],
        ["2026-01-01 02:00:00", "shop", size, "500", "-", "yes", "yes", older],
        ["-", "-", "-", "-", "-", "NO", "-", "shop_20260104T020000Z.dump"],
      ]);
      assert.deepEqual(site.files, [older, `${older}.json`], "nothing is fetched");

      copies.clear();
      assert.match(
        (await list("--list", "--from", copies.from)).stderr,
        new RegExp(`no copies at ${copies.place}.* yet`),
      );
      for (const [args, message] of [
        [["--list", "--from", "tape"], /--from is 'tape': must be s3 or nas/],
        [["--dry-run", "--from", copies.from], /--from goes with --list only/],
      ] as const) {
        const refused = await list(...args);
        assert.deepEqual([refused.code, message.test(refused.stderr)], [2, true], refused.stderr);
      }
    });

    it("restores the newest, the one of a time, the one of a name; what it fetched stays an ordinary dump", async () => {
      const { dump } = fetching;
      const newest = await fetching.run(["latest", "--database", "shop", "--new", "fresh"], {}, copies.typed);
      assert.equal(newest.code, 0, newest.stderr);
      assert.equal(
        /Access key id of a reader of http[^]*Its secret \(not shown\)/.test(newest.stderr),
        copies.typed !== "",
      );
      assert.match(newest.stderr, /role 'app' read as set session authorization, because .*, and read public\.t/);
      assert.equal(cluster.sql("fresh", "select count(*) from t"), "500");
      cluster.asPostgres("dropdb", ["fresh"]);
      assert.deepEqual(site.files, [dump, `${dump}.json`]);
      const owners = execFileSync("stat", ["-c", "%U:%G %a", dump, `${dump}.json`], { cwd: site.dumps });
      assert.equal(String(owners), `${cluster.role}:postgres 640\n`.repeat(2));
      assert.equal((await site.run("backup.sh", ["--check", dump])).code, 0);
      const again = await fetching.run(["latest", "--database", "shop", "--fetch"]);
      assert.match(again.stderr, /is here already/);
      for (const which of [
        ["--at", "2026-01-01 02:00", "--database", "shop"],
        ["--file", older],
      ]) {
        const fetched = await fetching.run([...which, "--fetch"]);
        assert.equal(fetched.code, 0, fetched.stderr);
        assert.deepEqual(site.dumpFiles, [older, dump].sort());
        fs.rmSync(path.join(site.dumps, older));
        fs.rmSync(path.join(site.dumps, `${older}.json`));
      }
    });

    it("decrypts with an identity of this run, by file or typed", async () => {
      fetching.store(encrypted, "2026-01-02T02:00:00.000Z", `${encrypted}.age`, fetching.encrypt(fetching.content));
      for (const [args, input] of [
        [["--identity", fetching.identity], ""],
        [[], fs.readFileSync(fetching.identity, "utf8").split("\n").at(-2) ?? ""],
      ] as const) {
        const fetched = await fetching.run(["--file", encrypted, "--fetch", ...args], copies.reader, `${input}\n`);
        assert.equal(fetched.code, 0, fetched.stderr);
        assert.deepEqual(site.files, [encrypted, `${encrypted}.json`]);
        assert.deepEqual(fs.readFileSync(path.join(site.dumps, encrypted)), fetching.content);
        for (const file of site.files) fs.rmSync(path.join(site.dumps, file));
      }
    });

    it("refuses before anything is touched, and keeps nothing of it", async () => {
      const { content, dump } = fetching;
      const flipped = Buffer.from(content);
      flipped[content.length >> 1] = (flipped[content.length >> 1] ?? 0) ^ 1;
      const another = Buffer.concat([content, content]);
      for (const bytes of [flipped, content.subarray(0, 1000), Buffer.alloc(0), another]) {
        copies.put(older, bytes);
        await fetching.refuses(["--file", older], /is damaged off-host: its SHA-256 is/);
      }
      copies.remove(older);
      await fetching.refuses(
        ["--file", older],
        new RegExp(`\\.json is at ${copies.place}.*, but shop_20260101T020000Z\\.dump is not: the copy is no longer`),
      );
      copies.put(older, content);
      const swapped = JSON.stringify(fetching.manifestOf(dump, "2026-01-01T02:00:00.000Z"));
      for (const manifest of ["", "{", swapped]) {
        copies.put(`${older}.json`, Buffer.from(manifest));
        await fetching.refuses(["--file", older], /passed over: \S+\.json does not fit \S+[^]*there is no dump/);
      }
      copies.remove(`${older}.json`);
      await fetching.refuses(
        ["--file", older],
        new RegExp(`there is no dump 'shop_20260101T020000Z\\.dump' at ${copies.place}.*: there are ${dump}`),
      );
      await fetching.refuses(
        ["--at", "2026-01-01 02:00", "--database", "shop"],
        /there is no dump of database 'shop' taken not after/,
      );
      const stranger = path.join(site.root, "stranger");
      execFileSync("age-keygen", ["-o", stranger], { stdio: "ignore" });
      fetching.store(encrypted, "2026-01-02T02:00:00.000Z", `${encrypted}.age`, fetching.encrypt(content));
      await fetching.refuses(
        ["--file", encrypted, "--identity", stranger],
        /cannot be decrypted with this identity: .*no identity matched/,
      );
      fs.rmSync(stranger);
      await fetching.refuses(["--file", encrypted], /no age identity: type it, or name its file/);
      await fetching.refuses(
        ["--file", encrypted, "--identity", "/nowhere"],
        /--identity is '\/nowhere': must be a readable file/,
      );
    });

    it("leaves what is here under that name alone, if it is something else", async () => {
      fs.writeFileSync(path.join(site.dumps, older), "mine");
      const outcome = await fetching.run(["--file", older, "--fetch"]);
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, /\.dump is here already, and is not what \S+ has under that name: give a --work/);
      assert.deepEqual(site.files, [older]);
      assert.equal(fs.readFileSync(path.join(site.dumps, older), "utf8"), "mine");
    });

    /** Starts a download that does not come to its end. */
    const stuck = async (
      directory: string,
      ...args: string[]
    ): Promise<{ partial: string; running: ReturnType<typeof start> }> => {
      copies.stall(site, older);
      const running = fetching.start(["--file", older, "--fetch", ...args], {}, copies.typed);
      const partial = path.join(directory, `.${older}.download`);
      await until("the download has begun", () => fs.existsSync(partial) && fs.statSync(partial).size > 0);
      return { partial, running };
    };

    it("stopped by a signal, leaves nothing", async () => {
      const { running } = await stuck(site.dumps);
      process.kill(running.pid, "SIGTERM");
      const outcome = await running.outcome;
      assert.equal(outcome.code, 143, outcome.stderr);
      assert.deepEqual(fs.readdirSync(site.dumps), []);
      await until("nothing of it runs on", () => site.processes().length === 0);
      assert.ok(!fs.existsSync(path.join(site.state, "restore.work")));
    });

    it("shows no secret in any process's arguments or environment, and a killed download is removed by the next run", async () => {
      const work = path.join(site.root, "work");
      fs.mkdirSync(work);
      fs.chmodSync(work, 0o755);
      const { partial, running } = await stuck(work, "--work", work);
      const all = fs.readdirSync("/proc").filter((entry) => /^\d+$/.test(entry));
      const read = (file: string): string => {
        try {
          return fs.readFileSync(file, "latin1");
        } catch {
          return "";
        }
      };
      const programs = findProcesses(`BACKUP_ENV=${site.settingsFile}`, from === "s3" ? "curl" : "ssh");
      assert.equal(programs.length, 1);
      for (const pid of all) {
        const shown = `${read(`/proc/${pid}/cmdline`)}${read(`/proc/${pid}/environ`)}`;
        assert.ok(!shown.includes(copies.secret), pid);
      }
      for (const pid of [running.pid, ...findProcesses(`BACKUP_ENV=${site.settingsFile}`)]) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          continue; // gone with another one
        }
      }
      await running.outcome;
      assert.ok(fs.existsSync(partial));
      const next = await site.run("restore.sh", ["--clean-up"]);
      assert.equal(next.code, 0, next.stderr);
      assert.match(next.stderr, /half fetched by a run that was cut off, is removed/);
      assert.deepEqual([fs.readdirSync(work), site.files], [[], []]);
    });

    it("killed when the dump has its name and the manifest has not: the next run removes both", async () => {
      const reached = path.join(site.root, "reached");
      site.shadow(
        "mv",
        `if [[ "$*" == *.download.json* ]]; then : >${reached}; exec tail -f /dev/null; fi; exec /usr/bin/mv "$@"`,
      );
      const running = fetching.start(["--file", older, "--fetch"], copies.reader);
      await until("the dump has its name", () => fs.existsSync(reached));
      for (const pid of [running.pid, ...findProcesses(`BACKUP_ENV=${site.settingsFile}`)])
        process.kill(pid, "SIGKILL");
      await running.outcome;
      fs.rmSync(reached);
      fs.rmSync(path.join(site.programs, "mv"));
      assert.deepEqual(fs.readdirSync(site.dumps).sort(), [`.${older}.download.json`, older]);
      const next = await site.run("restore.sh", ["--clean-up"]);
      assert.equal(next.code, 0, next.stderr);
      assert.deepEqual(fs.readdirSync(site.dumps), []);
    });

    if (from === "s3") {
      it("keeps a reader's key from the environment to itself: no program of postgres gets it", async () => {
        const environments = path.join(site.root, "environments");
        fs.writeFileSync(environments, "");
        fs.chmodSync(environments, 0o666);
        site.shadow("psql", `env >>${environments}; exec /usr/bin/psql "$@"`);
        const restored = await fetching.run(["--file", older, "--new", "fresh"]);
        assert.equal(restored.code, 0, restored.stderr);
        cluster.asPostgres("dropdb", ["fresh"]);
        const seen = fs.readFileSync(environments, "utf8");
        assert.ok(seen.includes("BACKUP_ENV="), "psql was run");
        assert.doesNotMatch(seen, /S3_READER|reader's secret/);
      });

      it("says why where nobody answers", async () => {
        site.configure({ ...copies.settings, S3_ENDPOINT: "http://127.0.0.1:9" });
        await fetching.refuses(
          ["--file", older],
          /error: GET http:\/\/127\.0\.0\.1:9\/bucket\/: HTTP 000: curl: \(7\) /,
        );
        site.configure(copies.settings);
      });
    }

    describe("--globals", () => {
      /** Times of globals off-host, the roles they make beside app. */
      const others = ["20251231T020100Z", "20260101T020100Z", "20260102T020100Z"];
      const nameOf = (stamp: string): string => `globals_${stamp}.sql`;
      const [before, next] = others.map(nameOf) as [string, string, string];

      beforeEach(() => {
        for (const stamp of others) {
          const bytes = Buffer.from(`CREATE ROLE app;\nALTER ROLE app WITH NOLOGIN;\nCREATE ROLE of_${stamp};\n`);
          const sha256 = createHash("sha256").update(bytes).digest("hex");
          const started = stamp.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, "$1-$2-$3T$4:$5:$6.000Z");
          fetching.store(nameOf(stamp), started, nameOf(stamp), bytes, { sha256, size: bytes.length });
        }
      });

      it("restores to a bare server from off-host alone", async () => {
        copies.clear();
        fetching.store(fetching.dump, new Date().toISOString());
        fetching.store(fetching.globals, new Date().toISOString());
        cluster.asPostgres("dropdb", ["shop"]);
        cluster.sql("postgres", "drop role app");
        const outcome = await fetching.run(["latest", "--database", "shop", "--globals", "--as", "shop"]);
        assert.equal(outcome.code, 0, outcome.stderr);
        assert.match(outcome.stderr, /created, without passwords: app\. /);
        assert.equal(cluster.sql("shop", "set role app; select count(*) from t"), "500");
        assert.deepEqual(site.globals, [fetching.globals]);
        assert.deepEqual(site.dumpFiles, [fetching.dump]);
      });

      it("takes those written next after the dump, else the newest; both are ordinary ones afterwards", async () => {
        const work = fs.mkdtempSync(path.join(site.root, "work-"));
        fs.chmodSync(work, 0o755);
        const fetch = ["--file", older, "--fetch", "--globals", "--work", work];
        const outcome = await fetching.run(fetch);
        assert.equal(outcome.code, 0, outcome.stderr);
        assert.deepEqual(fs.readdirSync(work).sort(), [next, `${next}.json`, older, `${older}.json`]);
        assert.deepEqual(fs.readdirSync(site.dumps), []);
        // Later, without the network: found beside the dump.
        cluster.asPostgres("dropdb", ["shop"]);
        cluster.sql("postgres", "drop role app");
        const restored = await site.run("restore.sh", ["--file", path.join(work, older), "--globals", "--as", "shop"]);
        assert.equal(restored.code, 0, restored.stderr);
        assert.match(restored.stderr, /created, without passwords: app\. /);
        for (const file of [next, `${next}.json`]) fs.rmSync(path.join(work, file));
        for (const stamp of others.slice(1)) copies.remove(`${nameOf(stamp)}.json`);
        assert.equal((await fetching.run(fetch)).code, 0);
        assert.deepEqual(
          fs.readdirSync(work).filter((file) => file.endsWith(".sql")),
          [before],
          "half uploaded ones do not exist",
        );
      });

      it("decrypts both with one identity, typed once", async () => {
        copies.clear();
        fetching.store(encrypted, "2026-01-02T02:00:00.000Z", `${encrypted}.age`, fetching.encrypt(fetching.content));
        const { globals, roles } = fetching;
        fetching.store(globals, "2026-01-02T02:01:00.000Z", `${globals}.age`, fetching.encrypt(roles));
        const identity = fs.readFileSync(fetching.identity, "utf8").split("\n").at(-2) ?? "";
        const args = ["--file", encrypted, "--fetch", "--globals"];
        const outcome = await fetching.run(args, copies.reader, `${identity}\n`);
        assert.equal(outcome.code, 0, outcome.stderr);
        assert.deepEqual(fs.readFileSync(path.join(site.dumps, globals)), roles);
        assert.equal(outcome.stderr.match(/Its age identity/g)?.length, 1);
      });

      it("refuses damaged ones, and where there are none, creates no role", async () => {
        cluster.sql("shop", "create role temporary; reassign owned by app to temporary; drop role app");
        try {
          copies.put(next, Buffer.from("CREATE ROLE app SUPERUSER;\n"));
          const args = ["--file", older, "--globals", "--as", "never"];
          const damaged = await fetching.run(args);
          assert.equal(damaged.code, 1);
          assert.match(damaged.stderr, new RegExp(`${next.replace(".", "\\.")} is damaged off-host: its SHA-256 is`));
          assert.deepEqual(site.globals, []);
          for (const stamp of others) copies.remove(`${nameOf(stamp)}.json`);
          const none = await fetching.run(args);
          assert.equal(none.code, 1);
          assert.match(none.stderr, new RegExp(`--globals: there is no globals_<time>\\.sql at ${copies.place}`));
          assert.equal(cluster.sql("postgres", "select count(*) from pg_roles where rolname = 'app'"), "0");
          assert.equal(cluster.sql("postgres", "select count(*) from pg_database where datname = 'never'"), "0");
        } finally {
          cluster.sql("shop", "create role app; reassign owned by temporary to app; drop role temporary");
        }
      });
    });
  });
}

describe("restore.sh --from s3, its reader", function () {
  let fetching: Fetching;

  before(async () => {
    fetching = await Fetching.prepare(() => new S3Copies());
  });
  beforeEach(() => fetching.reset());
  after(() => fetching.remove());

  it("is not the writer, nor nobody", async () => {
    const writer = { S3_READER_ACCESS_KEY_ID: "AKIAWRITER", S3_READER_SECRET_ACCESS_KEY: "x" };
    await fetching.refuses(["--file", older], /HTTP 403 AccessDenied/, "", writer);
    await fetching.refuses(["--file", older], /no reader's key: type it, or set/, "", {});
  });

  it("is asked for nothing where there is no bucket", async () => {
    fetching.site.configure({});
    await fetching.refuses(["--file", older], /S3_BUCKET is '': there are no off-host copies in S3/);
  });
});

describe("restore.sh --from nas, its account", function () {
  let copies: NasCopies;
  let fetching: Fetching;

  before(async () => {
    fetching = await Fetching.prepare((role) => (copies = new NasCopies(role)));
  });
  beforeEach(() => {
    fetching.reset();
    copies.server.admit("");
    fetching.site.configure(copies.settings);
  });
  after(() => fetching.remove());

  it("that may only write is said to be so; a reader's key of this run reads", async () => {
    copies.server.admit("-wo -no-del");
    await fetching.refuses(
      ["--file", older],
      /with NAS_KEY_FILE \S+client, NAS_USER 'root' can only write \(rrsync -wo\): must be a key .* NAS_READER_KEY_FILE in the environment names/,
    );
    const key = copies.server.admitReader();
    const fetched = await fetching.run(["--file", older, "--fetch"], { NAS_READER_KEY_FILE: key });
    assert.equal(fetched.code, 0, fetched.stderr);
    assert.deepEqual(fetching.site.files, [older, `${older}.json`]);
  });

  it("and its key are named where the login fails", async () => {
    copies.server.admitNobody();
    await fetching.refuses(
      ["--file", older],
      /login refused: NAS_USER is 'root', NAS_KEY_FILE \S+client: its public key/,
    );
    for (const [key, message] of [
      ["reader", /NAS_READER_KEY_FILE is 'reader': must be the absolute path of a private key/],
      ["/nowhere", /NAS_READER_KEY_FILE is '\/nowhere': must be a private key that root can read/],
    ] as const) {
      await fetching.refuses(["--file", older], message, "", { NAS_READER_KEY_FILE: key });
    }
    fetching.site.configure({});
    await fetching.refuses(["--file", older], /NAS_HOST is '': there are no off-host copies on a NAS/);
  });

  it("on a NAS with another host key than the pinned one is not logged in to", async () => {
    const { server } = copies;
    const pinned = server.publicKey("host");
    await server.stop();
    server.makeKey("host");
    await server.start();
    fetching.site.configure({ ...copies.settings, NAS_HOST_KEY: pinned });
    await fetching.refuses(["--file", older], /the host key is not the pinned one: it shows SHA256:/);
  });

  it("is given up in time when the NAS hangs, and nothing stays", async () => {
    fetching.site.configure({ ...copies.settings, NAS_STALL_SECONDS: "5" });
    copies.stall(fetching.site, older);
    const running = fetching.start(["--file", older, "--fetch"], {});
    const partial = path.join(fetching.site.dumps, `.${older}.download`);
    await until("the download has begun", () => fs.existsSync(partial) && fs.statSync(partial).size > 0);
    for (const sender of copies.server.servers) process.kill(sender, "SIGSTOP"); // as if its disk hung
    const outcome = await running.outcome;
    for (const sender of copies.server.servers) process.kill(sender, "SIGKILL");
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /rsync:\S+: no answer in time \(5 s\)/);
    assert.deepEqual(fs.readdirSync(fetching.site.dumps), []);
    await until("nothing of it runs on", () => fetching.site.processes().length === 0);
  });
});
