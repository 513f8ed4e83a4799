import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, start, until } from "./cluster";
import { NasServer } from "./nasServer";
import { ReadableBucket, reader } from "./readableBucket";
import { S3Server } from "./s3Server";
import { scripts, Site, type Settings } from "./site";

/** What sha256sum prints of the files of a directory, in the order of their names, and the SHA-256 of that. */
function hashOf(directory: string): string {
  const lines = fs
    .readdirSync(directory)
    .sort()
    .map(
      (name) =>
        `${createHash("sha256")
          .update(fs.readFileSync(path.join(directory, name)))
          .digest("hex")}  ${name}\n`,
    );
  return createHash("sha256").update(lines.join("")).digest("hex");
}

describe("a dump made side by side (DUMP_JOBS)", function () {
  let cluster: Cluster;
  let site: Site;
  let s3: S3Server;
  let nas: NasServer;

  before(async () => {
    cluster = new Cluster();
    // One table of 17 MB when compressed, more than a part; others beside it.
    cluster.createDatabase(
      "large",
      `create table blobs as select i, string_agg(md5(random()::text), '') as text
         from generate_series(1, 60000) i, generate_series(1, 16) j group by i;
       create table small (id int primary key); insert into small select generate_series(1, 30);
       create table empty (id int)`,
    );
    cluster.createDatabase("shop", "create table t (id int primary key); insert into t select generate_series(1, 30)");
    nas = new NasServer(cluster.role);
    await nas.start();
  });
  beforeEach(() => (s3 = new S3Server()));
  afterEach(() => {
    s3.close();
    site.remove();
  });
  after(async () => {
    await nas.remove();
    cluster.stop();
  });

  const makeSite = (databases: string[], settings: Settings = {}): void => {
    site = new Site(cluster, databases, { DUMP_JOBS: "2", ...settings });
  };
  const dump = (): string => path.join(site.dumps, site.dumpFiles[0] ?? "");

  it("is a directory that its manifest vouches for, file by file, and that postgres can read", async () => {
    makeSite(["large"]);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    assert.equal(site.dumpFiles.length, 1);
    assert.deepEqual(fs.readdirSync(dump()).length, 4);
    const manifest = site.manifest(path.basename(dump())) as unknown as {
      sha256: string;
      size: number;
      files: Record<string, string>;
      tables: Record<string, number>;
    };
    assert.equal(manifest.sha256, hashOf(dump()));
    const files = fs.readdirSync(dump()).map((name) => path.join(dump(), name));
    assert.equal(
      manifest.size,
      files.reduce((sum, file) => sum + fs.statSync(file).size, 0),
    );
    for (const file of files) {
      const hash = createHash("sha256").update(fs.readFileSync(file)).digest("hex");
      assert.equal(manifest.files[path.basename(file)], hash);
    }
    assert.deepEqual(manifest.tables, { "public.blobs": 60000, "public.empty": 0, "public.small": 30 });
    const list = execFileSync("runuser", ["-u", "postgres", "--", "pg_restore", "--list", dump()], {
      cwd: "/",
      env: cluster.env,
      encoding: "utf8",
    });
    assert.match(list, /Format: DIRECTORY/);
    assert.equal((await site.run("backup.sh", ["--check", path.basename(dump())])).code, 0);
    assert.match((await site.run("backup.sh", ["--list"])).stdout, / yes +- +large_\S+\.dump$/m);
  });

  for (const encrypted of [false, true]) {
    it(`goes off-host as one tar file${encrypted ? ", encrypted," : ""} and comes back by restore.sh`, async () => {
      makeSite(["large"]);
      const identity = path.join(site.root, "identity");
      const recipient = execFileSync("sh", ["-c", `age-keygen -o ${identity} 2>/dev/null; age-keygen -y ${identity}`]);
      const recipients = encrypted ? [recipient.toString().trim()] : [];
      site.configure({
        ...nas.settings,
        DUMP_JOBS: "2",
        S3_BUCKET: "bucket",
        S3_ENDPOINT: await s3.listen(),
        AGE_RECIPIENTS: recipients,
      });
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      const name = path.basename(dump());
      const object = `${name}.tar${encrypted ? ".age" : ""}`;
      const copies = [...s3.objects.keys()].filter((each) => !each.includes("globals_")).sort();
      assert.deepEqual(copies, [`/bucket/ct2320/${name}.json`, `/bucket/ct2320/${object}`]);
      assert.deepEqual(nas.copies, [`${name}.json`, object]);
      const open = encrypted ? `age --decrypt -i ${identity}` : "cat";
      for (const copy of [s3.objects.get(`/bucket/ct2320/${object}`), fs.readFileSync(nas.file(object))]) {
        const unpacked = path.join(site.root, "unpacked");
        fs.rmSync(unpacked, { recursive: true, force: true });
        fs.mkdirSync(unpacked);
        execFileSync("sh", ["-c", `${open} | tar -x -C ${unpacked}`], { input: copy });
        assert.equal(hashOf(unpacked), site.manifest(name).sha256);
      }

      const bucket = new ReadableBucket();
      try {
        for (const key of copies)
          bucket.objects.set(key.replace("/bucket/", ""), s3.objects.get(key) ?? Buffer.alloc(0));
        site.configure({ S3_BUCKET: "bucket", S3_ENDPOINT: await bucket.listen() });
        const hash = hashOf(dump());
        fs.rmSync(dump(), { recursive: true });
        fs.rmSync(path.join(site.dumps, `${name}.json`));
        const args = ["latest", "--database", "large", "--from", "s3", "--new", "copy", "--jobs", "2"];
        const environment = { ...cluster.env, BACKUP_ENV: site.settingsFile, ...reader };
        const option = encrypted ? ["--identity", identity] : [];
        const back = await start(path.join(scripts, "restore.sh"), [...args, ...option], environment, "").outcome;
        assert.equal(back.code, 0, back.stderr);
        assert.equal(cluster.sql("copy", "select count(*) from blobs"), "60000");
        assert.equal(hashOf(path.join(site.dumps, name)), hash);
      } finally {
        bucket.close();
        cluster.sql("postgres", "drop database if exists copy");
        fs.rmSync(path.join(nas.directory, "ct2320"), { recursive: true });
      }
    });
  }

  it("goes off-host as well if it is whole before its copies have begun", async () => {
    const settings = { S3_BUCKET: "bucket", S3_ENDPOINT: await s3.listen(), ...nas.settings };
    makeSite(["shop"], settings);
    const partials = `${site.dumps}/.shop_*.dump.partial`;
    site.shadow(
      "mktemp",
      `if [[ "$*" == */s3.* || "$*" == */nas.* ]]; then while compgen -G '${partials}' >/dev/null; do sleep 0.05; done; fi
      exec /usr/bin/mktemp "$@"`,
    );
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    const object = `${path.basename(dump())}.tar`;
    assert.ok([...s3.objects.keys()].includes(`/bucket/ct2320/${object}`), [...s3.objects.keys()].join(" "));
    assert.ok(nas.copies.includes(object), nas.copies.join(" "));
  });

  it("with a bit flipped in one file, or without one, is refused before anything is touched", async () => {
    makeSite(["shop"]);
    assert.equal((await site.run("backup.sh")).code, 0);
    const file = fs.readdirSync(dump()).find((name) => name.endsWith(".dat.gz")) ?? "";
    const content = fs.readFileSync(path.join(dump(), file));
    const flipped = Buffer.from(content);
    flipped[12] = (flipped[12] ?? 0) ^ 1;
    fs.writeFileSync(path.join(dump(), file), flipped);
    const damaged = await site.run("restore.sh", ["--file", dump(), "--new", "copy"]);
    assert.equal(damaged.code, 1);
    assert.match(damaged.stderr, /is damaged: its SHA-256 is/);
    fs.rmSync(path.join(dump(), file));
    const short = await site.run("restore.sh", ["--file", dump(), "--new", "copy"]);
    assert.equal(short.code, 1);
    assert.match(short.stderr, /does not fit its manifest/);
    assert.equal(cluster.sql("postgres", "select count(*) from pg_database where datname like 'copy%'"), "0");
  });

  it("pg_dump killed midway, or everything: nothing half stays, the earlier dump is whole, the next night is good", async () => {
    makeSite(["large"], { S3_BUCKET: "bucket", S3_ENDPOINT: await s3.listen() });
    assert.equal((await site.run("backup.sh")).code, 0);
    const [earlier = ""] = site.dumpFiles;
    const hash = hashOf(path.join(site.dumps, earlier));
    for (const name of ["pg_dump", undefined]) {
      const night = site.start("backup.sh");
      const partial = (): string | undefined =>
        fs.readdirSync(site.dumps).find((file) => file.startsWith(".large_") && file.endsWith(".dump.partial"));
      await until("the large table is being written", () => {
        const directory = path.join(site.dumps, partial() ?? "none");
        return (
          fs.existsSync(directory) &&
          fs.readdirSync(directory).some((file) => fs.statSync(path.join(directory, file)).size > 2 ** 20)
        );
      });
      for (const pid of site.processes(name)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          continue; // gone with another one
        }
      }
      const outcome = await night.outcome;
      assert.notEqual(outcome.code, 0);
      await until("everything has ended", () => site.processes().length === 0);
      if (name !== undefined) assert.equal(partial(), undefined);
      assert.deepEqual(site.dumpFiles, [earlier]);
      assert.equal(hashOf(path.join(site.dumps, earlier)), hash);
      assert.deepEqual([...s3.objects.keys()].filter((each) => each.includes("/large_")).length, 2);
    }
    const next = await site.run("backup.sh");
    assert.equal(next.code, 0, next.stderr);
    assert.match(next.stderr, /removed \S+\.partial, left by a run that was cut off/);
    assert.equal(site.dumpFiles.length, 2);
    assert.deepEqual(
      fs.readdirSync(site.dumps).filter((file) => file.endsWith(".partial")),
      [],
    );
  });

  it("is hashed file by file, each as soon as it is whole, while pg_dump writes others", async () => {
    makeSite(["large"]);
    const night = site.start("backup.sh");
    const sizes = (): Map<string, number> => {
      const [partial] = site.files.filter((file) => file.startsWith(".large_"));
      const directory = path.join(site.dumps, partial ?? "none");
      const names = fs.existsSync(directory) ? fs.readdirSync(directory) : [];
      return new Map(names.map((name) => [name, fs.statSync(path.join(directory, name)).size]));
    };
    await until("the large table is being written", () => [...sizes().values()].some((size) => size > 2 ** 20));
    site.signal("SIGSTOP", "pg_dump");
    const [large = "", written = 0] = [...sizes()].find(([, size]) => size > 2 ** 20) ?? [];
    const [, hash = "", name = ""] = await until("another file is hashed", () => {
      const lists = fs.readdirSync(site.state).map((each) => path.join(site.state, each, "stored"));
      const [list] = lists.filter((each) => fs.existsSync(each));
      const text = list === undefined ? "" : fs.readFileSync(list, "utf8");
      return /^([0-9a-f]{64}) {2}(\S+)$/m.exec(text) ?? undefined;
    });
    site.signal("SIGCONT", "pg_dump");
    const outcome = await night.outcome;
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.ok(fs.statSync(path.join(dump(), large)).size > written, "pg_dump had not come to its end");
    assert.notEqual(name, large);
    assert.equal(
      hash,
      createHash("sha256")
        .update(fs.readFileSync(path.join(dump(), name)))
        .digest("hex"),
    );
  });

  it("what the disk holds of one file, other than pg_dump wrote it, never becomes a dump", async () => {
    makeSite(["shop"]);
    const flip = `printf '\\x5a' | dd of="$file" bs=1 seek=12 conv=notrunc status=none`;
    site.shadow("sync", `for file; do if [[ $file == *.dat.gz ]]; then ${flip}; fi; done; exec /usr/bin/sync "$@"`);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 1);
    assert.match(night.stderr, /shop: error: what is on disk is not what pg_dump wrote: SHA-256 \w+, must be \w+/);
    assert.deepEqual(
      site.files.filter((file) => file.includes("shop_")),
      [],
    );
  });

  it("of which not every file was read back never becomes a dump", async () => {
    makeSite(["shop"]);
    site.shadow("xargs", '/usr/bin/xargs "$@" | sed /toc.dat/d');
    const night = await site.run("backup.sh");
    assert.equal(night.code, 1);
    assert.match(night.stderr, /shop: error: not every file in \S+\.partial was read back from the disk, or not once/);
    assert.deepEqual(
      site.files.filter((file) => file.includes("shop_")),
      [],
    );
  });

  it("is made of more tables than their names and checksums fit on a command line", async () => {
    const tables = 1800;
    cluster.createDatabase(
      "many",
      `do $$ begin for n in 1..${tables} loop execute format('create table t%s as select %s as id', n, n); end loop; end $$`,
    );
    makeSite(["many"], { DUMP_JOBS: "4" });
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    const manifest = site.manifest(path.basename(dump())) as unknown as { sha256: string; files: object };
    assert.equal(Object.keys(manifest.files).length, tables + 1);
    assert.equal(manifest.sha256, hashOf(dump()));
    assert.equal((await site.run("backup.sh", ["--check", path.basename(dump())])).code, 0);
  });

  it("is made where the settings say so, whatever the caller's environment says", async () => {
    site = new Site(cluster, ["shop"]);
    const env = { ...cluster.env, BACKUP_ENV: site.settingsFile, DUMP_JOBS: "2" };
    const night = await start(path.join(scripts, "backup.sh"), [], env).outcome;
    assert.equal(night.code, 0, night.stderr);
    assert.ok(fs.statSync(dump()).isFile());
  });

  it("is let go by retention like a file", async () => {
    makeSite(["shop"]);
    assert.equal((await site.run("backup.sh")).code, 0);
    const [first = ""] = site.dumpFiles;
    const old = first.replace(/_\d{8}T/, "_20200101T");
    fs.renameSync(path.join(site.dumps, first), path.join(site.dumps, old));
    const manifest = JSON.parse(fs.readFileSync(path.join(site.dumps, `${first}.json`), "utf8")) as object;
    fs.writeFileSync(path.join(site.dumps, `${old}.json`), JSON.stringify({ ...manifest, file: old }));
    fs.rmSync(path.join(site.dumps, `${first}.json`));
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    assert.match(night.stderr, new RegExp(`removed ${old}, older than 14 days`));
    assert.equal(site.dumpFiles.length, 1);
    assert.equal(fs.existsSync(path.join(site.dumps, old)), false);
  });
});
