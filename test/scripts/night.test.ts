import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster } from "./cluster";
import { S3Server } from "./s3Server";
import { Site } from "./site";

describe("a night's settings and preflight", function () {
  let cluster: Cluster;
  let site: Site;

  before(() => {
    cluster = new Cluster();
    cluster.createDatabase(
      "shop",
      `create table events (id int primary key); insert into events select generate_series(1, 20);
       create table expenses (id int primary key, note text);
       insert into expenses select i, repeat('compressible ', 20) from generate_series(1, 5000) i`,
    );
  });

  afterEach(() => site.remove());

  after(() => cluster.stop());

  describe("COMPRESSION", () => {
    /** How this pg_dump was called for the dump, and the manifest that came of it. */
    async function dumpWith(
      compression: string,
      shadow?: string,
    ): Promise<{ options: string; size: number; used: string }> {
      site = new Site(cluster, ["shop"], { COMPRESSION: compression });
      const record = path.join(site.state, "options");
      site.shadow(
        "pg_dump",
        `[[ "$*" == *nonexistent* ]] || echo "$*" >>'${record}'; ${shadow ?? ""} exec /usr/bin/pg_dump "$@"`,
      );
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      const manifest = site.manifest(site.dumpFiles[0] ?? "");
      const [, options = ""] = /(--compress=\S+)/.exec(fs.readFileSync(record, "utf8")) ?? [];
      return { options, size: manifest.size, used: manifest.compression };
    }

    it("gzip, a level, none: given to pg_dump and recorded in the manifest", async () => {
      const gzip = await dumpWith("gzip");
      assert.deepEqual([gzip.options, gzip.used], ["", "gzip"]);
      site.remove();
      const level = await dumpWith("gzip:1");
      assert.deepEqual([level.options, level.used], ["--compress=1", "gzip:1"]);
      site.remove();
      const none = await dumpWith("none");
      assert.deepEqual([none.options, none.used], ["--compress=0", "none"]);
      assert.ok(none.size > 3 * gzip.size, `${none.size} > 3 * ${gzip.size}`);
    });

    // Stands for a pg_dump of 16 or newer where only an older one is installed: takes zstd, writes gzip.
    const knowsZstd =
      'a=("$@"); for i in "${!a[@]}"; do [[ ${a[i]} == --compress=zstd* ]] && a[i]=--compress=6; done; set -- "${a[@]}";';

    it("auto takes zstd where pg_dump has it, else gzip; zstd where it has not is refused", async () => {
      assert.equal((await dumpWith("auto", knowsZstd)).options, "--compress=zstd");
      site.remove();
      // A pg_dump built without zstd says so before it connects.
      const knowsNot =
        '[[ "$*" == *zstd* ]] && { echo "pg_dump: error: this build does not support zstd" >&2; exit 1; };';
      assert.equal((await dumpWith("auto", knowsNot)).used, "gzip");
      site.configure({ COMPRESSION: "zstd:3" });
      const refused = await site.run("backup.sh");
      assert.equal(refused.code, 1);
      assert.match(
        refused.stderr,
        /COMPRESSION is 'zstd:3', which pg_dump .* cannot: must be 'auto', 'gzip' or 'none'/,
      );
      for (const wrong of ["lz4", "gzip:0", "zstd:23", "auto:1"]) {
        site.configure({ COMPRESSION: wrong });
        assert.match((await site.run("backup.sh")).stderr, /line \d+: COMPRESSION is '.*': must be auto, none, gzip/);
      }
    });
  });

  describe("globals", () => {
    it("are beside each night's dumps, without passwords, verified, off-host, under the same retention", async () => {
      cluster.sql("postgres", "create role clerk login password 'hush'; grant app to clerk");
      const s3 = new S3Server();
      const endpoint = await s3.listen();
      try {
        site = new Site(cluster, ["shop"], { S3_BUCKET: "bucket", S3_ENDPOINT: endpoint });
        fs.writeFileSync(path.join(site.dumps, "globals_20200101T000000Z.sql"), "no manifest");
        for (let night = 1; night <= 2; night++) assert.equal((await site.run("backup.sh")).code, 0);
        const [unverified = "", first = "", second = ""] = site.globals;
        assert.match(second, /^globals_\d{8}T\d{6}Z\.sql$/);
        const text = fs.readFileSync(path.join(site.dumps, second), "utf8");
        assert.match(text, /CREATE ROLE clerk;[^]*GRANT app TO clerk/);
        assert.ok(!/PASSWORD|SCRAM|md5/.test(text));
        const manifest = site.manifest(second);
        assert.equal(manifest.sha256, site.sha256(second));
        assert.ok(s3.urls.includes(`/bucket/ct2320/${second}.json`));
        assert.ok(s3.urls.includes(`/bucket/ct2320/${first}?tagging=`));

        const old = "globals_20250101T000000Z.sql";
        const aged = JSON.stringify({ ...site.manifest(first), file: old });
        fs.rmSync(path.join(site.dumps, `${first}.json`));
        fs.renameSync(path.join(site.dumps, first), path.join(site.dumps, old));
        fs.writeFileSync(path.join(site.dumps, `${old}.json`), aged);
        execFileSync("chown", [cluster.role, path.join(site.dumps, `${old}.json`)]);
        const third = await site.run("backup.sh");
        assert.equal(third.code, 0, third.stderr);
        assert.ok(!site.globals.includes(old));
        assert.ok(site.globals.includes(unverified) && site.globals.includes(second));
        assert.match(third.stderr, /globals_20200101T000000Z\.sql has no manifest that fits/);
      } finally {
        s3.close();
        cluster.sql("postgres", "drop role clerk");
      }
    });

    it("that fail make the night fail and leave nothing, and the database's dump stands", async () => {
      site = new Site(cluster, ["shop"]);
      for (const [body, message] of [
        ['/usr/bin/pg_dumpall "$@" | head -n 12', /globals: error: pg_dumpall did not come to its end/],
        ['/usr/bin/pg_dumpall "$@"; kill -9 $$', /globals: error: pg_dumpall ended with signal KILL/],
      ] as const) {
        site.shadow("pg_dumpall", body);
        const night = await site.run("backup.sh");
        assert.equal(night.code, 1);
        assert.match(night.stderr, message);
        assert.match(night.stderr, /the night failed for: globals/);
      }
      assert.deepEqual(site.globals, []);
      assert.equal(site.dumpFiles.length, 2);
    });
  });

  describe("space", () => {
    /** Puts a small file system where the dumps go. */
    async function onSmallDisk(options: string, use: () => Promise<void>): Promise<void> {
      execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", site.dumps]);
      try {
        execFileSync("chown", [`${cluster.role}:postgres`, site.dumps]);
        execFileSync("chmod", ["3770", site.dumps]);
        await use();
      } finally {
        execFileSync("umount", [site.dumps]);
      }
    }

    it("that will not do is refused before pg_dump begins, naming what is needed and what is free", async () => {
      site = new Site(cluster, ["shop"]);
      await onSmallDisk("size=256k", async () => {
        const night = await site.run("backup.sh");
        assert.equal(night.code, 1);
        assert.match(
          night.stderr,
          /shop: error: not enough space in .*: the dump takes about [\d.]+MB \(\d{7} bytes\), [\d.]+K?B \(\d+ bytes\) are free/,
        );
        assert.deepEqual(site.files, []);
      });
      await onSmallDisk("size=64m,nr_inodes=6", async () => {
        const night = await site.run("backup.sh");
        assert.equal(night.code, 1);
        assert.match(night.stderr, /shop: error: not enough inodes in .*: a dump takes up to 8, \d are free/);
      });
    });

    it("is estimated from the last dump, grown as the database has", async () => {
      site = new Site(cluster, ["shop"]);
      assert.equal((await site.run("backup.sh")).code, 0);
      const [dump = ""] = site.dumpFiles;
      const dry = async (): Promise<string> => (await site.run("backup.sh", ["--dry-run"])).stdout;
      const size = (text: string): number => {
        const [, input = ""] = /about ([\d.]+[KMG]?)B/.exec(text) ?? [];
        return Number(execFileSync("numfmt", ["--from=si", input], { encoding: "utf8" }));
      };
      const once = size(await dry());
      assert.ok(Math.abs(once / site.manifest(dump).size - 1) < 0.1, `${once}`);
      const manifest = site.manifest(dump);
      fs.writeFileSync(
        path.join(site.dumps, `${dump}.json`),
        JSON.stringify({ ...manifest, database_size: manifest.database_size / 1000 }),
      );
      assert.ok(size(await dry()) > 900 * once);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
    });
  });

  it("a client older than the server is refused, both versions named", async () => {
    site = new Site(cluster, ["shop"]);
    site.shadow(
      "pg_dump",
      '[[ $1 == --version ]] && { echo "pg_dump (PostgreSQL) 9.6.24"; exit; }; exec /usr/bin/pg_dump "$@"',
    );
    const night = await site.run("backup.sh");
    assert.equal(night.code, 1);
    assert.match(night.stderr, /pg_dump is version 9, the server 1\d: install postgresql-client-1\d/);
    assert.deepEqual(site.files, []);
  });

  describe("COUNT_TABLES", () => {
    it("limits what is counted, says so in the manifest, and restore proves just that", async () => {
      site = new Site(cluster, ["shop"], { COUNT_TABLES: ["public.events", "shop|public.gone"] });
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      assert.match(night.stderr, /shop: warning: COUNT_TABLES names 'public\.gone', which this database does not have/);
      const [dump = ""] = site.dumpFiles;
      assert.deepEqual(site.manifest(dump).tables, { "public.events": 20 });
      assert.deepEqual(site.manifest(dump).counted, ["public.events", "public.gone"]);
      site.configure({});
      const restored = await site.run("restore.sh", ["--file", dump, "--new", "shop_counted"]);
      assert.equal(restored.code, 0, restored.stderr + restored.stdout);
      assert.match(restored.stdout, /table counts {3}1 of 1 equal, 20 rows/);
      assert.equal((await site.run("backup.sh")).code, 0);
      const [, whole = ""] = site.dumpFiles;
      assert.equal(site.manifest(whole).counted, "all");
      site.configure({ COUNT_TABLES: ["public.events"] });
      const all = await site.run("restore.sh", ["--file", whole, "--new", "shop_whole"]);
      assert.match(all.stdout, /table counts {3}2 of 2 equal, 5020 rows/);
      site.configure({ COUNT_TABLES: ["events"] });
      assert.match((await site.run("backup.sh")).stderr, /COUNT_TABLES is 'events': must be 'schema\.table'/);
    });

    it("of one database does not limit another", async () => {
      cluster.createDatabase("other", "create table t (id int)");
      site = new Site(cluster, ["shop", "other"], { COUNT_TABLES: ["shop|public.events"] });
      assert.equal((await site.run("backup.sh")).code, 0);
      const other = site.dumpFiles.find((file) => file.startsWith("other_")) ?? "";
      assert.deepEqual(site.manifest(other).tables, { "public.t": 0 });
    });
  });
});
