import * as assert from "node:assert/strict";
import * as fs from "node:fs";
import * as path from "node:path";
import { databaseRole } from "../../components/container";
import { type Grants, renderRoleSql } from "../../components/render/roleSql";
import { type Cluster, type Outcome, type Running, start } from "./cluster";
import { Site } from "./site";

const folder = path.resolve(__dirname, "../../components/container/agent");
const text = ["main", "roleFacts", "role", "probe"]
  .map((part) => fs.readFileSync(path.join(folder, `${part}.sh`), "utf8"))
  .join("\n");

const connectionLimit = 20;

/** What the agent does with the backup role, on a cluster of the tests: its functions, without receipts. */
export class RoleAgent {
  constructor(private readonly cluster: Cluster) {}

  /** Brings the role to the state declared, as `pulumi up` does, which ends with a look whether it is so. */
  async apply(grants: Grants): Promise<void> {
    const sql = renderRoleSql({ role: this.cluster.role, connectionLimit, ...grants });
    await this.call(`apply_role <(cat) "$@"`, grants, sql);
  }

  async remove(grants: Grants): Promise<void> {
    await this.call(`remove_role "$@"`, grants);
  }

  /** The facts that the next preview compares with, complaints included, as probe.sh gives them. */
  async observe(grants: Grants): Promise<string[]> {
    return (await this.call(`observe_role "$@" 2>&1`, grants)).trim().split("\n");
  }

  /** The problems that preview and up end with before anything is declared. */
  async check(grants: Grants): Promise<string[]> {
    const reading = `local -a databases; local -A schemas=() owners=(); local options=''; read_grants "\${@:3}"`;
    const script = `check() { ${reading}; check_databases "\${databases[@]}"; }; check "$@"`;
    const problems = (await this.call(script, grants)).split("\n").filter((line) => line.startsWith("problem "));
    return problems.map((line) => {
      const [, key = "", base64 = ""] = line.split(" ");
      return `${key}: ${Buffer.from(base64, "base64").toString()}`;
    });
  }

  /** `backup.sh --audit`, with the settings that go with these grants. */
  async audit(grants: Grants): Promise<Outcome> {
    const site = this.site(grants);
    try {
      return await site.run("backup.sh", ["--audit"]);
    } finally {
      site.remove();
    }
  }

  site({ databases, grants, bypassRls, largeObjects }: Grants): Site {
    return new Site(this.cluster, databases, {
      GRANTS: grants === "all" ? "all" : "schemas",
      BYPASS_RLS: bypassRls ? "yes" : "no",
      LARGE_OBJECTS: largeObjects ? "yes" : "no",
    });
  }

  /** A psql session of the role, from its account; it goes on after errors and calls them by their SQLSTATE. */
  session(database: string, sql: string): Running {
    const { role, env } = this.cluster;
    const account = [`--reuid=${role}`, `--regid=${role}`, "--init-groups"];
    return start("setpriv", [...account, "psql", "-XAtqw", "-v", "VERBOSITY=sqlstate", "-d", database], env, sql);
  }

  /**
   * What each statement answers the role: rows, or the SQLSTATE it is refused with.
   * @param insisting whether the session switches off that it is read-only, as any may
   */
  async answers(database: string, statements: readonly string[], insisting = false): Promise<string[]> {
    const begin = `set client_min_messages = error;\nset default_transaction_read_only = ${insisting ? "off" : "on"};\n`;
    const marked = statements.map((sql) => `${sql};\n\\echo :SQLSTATE\nrollback;\n`);
    const { stdout } = await this.session(database, begin + marked.join("")).outcome;
    const answers = stdout.split(/^([0-9A-Z]{5})\n/m);
    return statements.map((_, index) => {
      const [rows = "", state = "no answer"] = answers.slice(2 * index);
      return state === "00000" ? rows.trim() : state;
    });
  }

  private async call(script: string, grants: Grants, input = ""): Promise<string> {
    const { role, env } = this.cluster;
    const words = databaseRole({ role, connectionLimit, sql: "", ...grants }).parameters;
    const argv = ["--norc", "-c", `${text}\n${script}`, "agent", ...words];
    const { code, stdout, stderr } = await start("bash", argv, env, input).outcome;
    assert.equal(code, 0, stdout + stderr);
    return stdout;
  }
}

/** The facts of a role with just these grants. */
export function factsOf({ databases, grants, bypassRls, largeObjects }: Grants): string[] {
  const inDatabases =
    grants === "all"
      ? []
      : grants.flatMap(({ database, schemas, owners }) => {
          const facts = schemas.flatMap((schema) => {
            const where = `schema ${schema} in database ${database}`;
            const later = owners.flatMap((owner) =>
              ["relations", "sequences"].map(
                (kind) => `SELECT on default privileges on new ${kind} belonging to role ${owner} in ${where}`,
              ),
            );
            return [`USAGE on ${where}`, ...later];
          });
          return facts.sort();
        });
  return [
    `attributes login${bypassRls ? " bypassrls" : ""}`,
    `connection limit ${connectionLimit}`,
    "password none",
    "setting default_transaction_read_only=on",
    ...(largeObjects ? ["setting lo_compat_privileges=on"] : []),
    ...(grants === "all" ? ["member of pg_read_all_data"] : []),
    ...databases.map((database) => `CONNECT on database ${database}`),
    ...inDatabases,
  ];
}
