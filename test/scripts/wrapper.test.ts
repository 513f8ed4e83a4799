import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster } from "./cluster";
import { scripts } from "./site";

describe("Debian's wrapper around PostgreSQL's programs", function () {
  let cluster: Cluster;
  let own: string;
  let clusters: string;

  before(() => {
    cluster = new Cluster();
    // As Debian notes a cluster: the wrapper finds its socket and port there.
    clusters = path.join(cluster.directory, "clusters");
    const configuration = path.join(clusters, String(cluster.version), "shop");
    fs.mkdirSync(configuration, { recursive: true });
    fs.writeFileSync(
      path.join(configuration, "postgresql.conf"),
      `data_directory = '/nonexistent'\nport = 5432\nunix_socket_directories = '${cluster.directory}'\n`,
    );
    own = path.join(cluster.directory, "own");
    fs.mkdirSync(own);
    fs.writeFileSync(path.join(own, "pg_restore"), "#!/bin/sh\n", { mode: 0o755 });
  });

  after(() => cluster.stop());

  /** Where a script finds PostgreSQL's programs, and which server it reaches. */
  function find(env: NodeJS.ProcessEnv): string[] {
    const program = `set -Eeuo pipefail
      for part in log signals postgres; do . '${scripts}/lib/'$part.sh; done
      AS_ACCOUNT=(runuser -u postgres --)
      BACKUP_NAME=shop
      isolate_client
      for name in psql pg_dump pg_restore; do type -P "$name"; done
      run_sql postgres <<<"select current_setting('unix_socket_directories')" 2>&1 || true`;
    const PATH = `${own}:${process.env["PATH"] ?? ""}`;
    return execFileSync("bash", ["--norc", "-c", program], { env: { PATH, ...env }, encoding: "utf8" })
      .trim()
      .split("\n");
  }

  it("is asked once which cluster is meant, then left out; what stands before it on the path still does", () => {
    const programs = `/usr/lib/postgresql/${cluster.version}/bin`;
    assert.deepEqual(find({ PG_CLUSTER_CONF_ROOT: clusters }), [
      `${programs}/psql`,
      `${programs}/pg_dump`,
      `${own}/pg_restore`,
      cluster.directory,
    ]);
  });

  it("stays where it was told of no cluster", () => {
    assert.deepEqual(find({ PGHOST: cluster.directory }), [
      "/usr/bin/psql",
      "/usr/bin/pg_dump",
      `${own}/pg_restore`,
      cluster.directory,
    ]);
  });

  it("stays, and says what is wrong, where a cluster is meant that is not there", () => {
    const [psql, , , answer] = find({ PG_CLUSTER_CONF_ROOT: clusters, PGCLUSTER: "15/other" });
    assert.equal(psql, "/usr/bin/psql");
    assert.match(answer ?? "", /Cluster 15 other does not exist/);
  });
});
