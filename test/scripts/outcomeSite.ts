import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { type Cluster, type Outcome, start } from "./cluster";
import { scripts, type Settings, Site } from "./site";

/** A site where it is told what came of a run, with stand-ins for systemd, its journal and who is told. */
export class OutcomeSite extends Site {
  /** What sendmail was called with, and the mail. */
  readonly mail = path.join(this.state, "mail");
  /** What the program `hear` found in its environment, and on standard input. */
  readonly heard = path.join(this.state, "heard");
  readonly metrics = path.join(this.root, "metrics");

  constructor(cluster: Cluster, databases: readonly string[]) {
    super(cluster, databases);
    fs.mkdirSync(this.metrics);
    execFileSync("chown", [cluster.role, this.metrics]);
    // No systemd is asked here: what it would say has its test on the lab floor.
    this.shadow("systemctl", "exit 0");
    this.shadow("journalctl", `echo "02:00:01 error: the last line; Failed with result 'exit-code'."`);
    this.shadow("sendmail", `{ echo "$@"; cat; } >'${this.mail}'`);
    this.shadow("hear", `{ env | grep ^PGBACKUP_ | sort; cat; } >'${this.heard}'`);
  }

  configureOutcome(settings: Settings, secrets: Readonly<Record<string, string>> = {}): void {
    const file = path.join(this.root, "outcome-secrets.env");
    const lines = Object.entries(secrets).map(([key, value]) => `${key}='${value}'\n`);
    fs.writeFileSync(file, lines.join(""), { mode: 0o600 });
    execFileSync("chown", [this.cluster.role, file]);
    this.configure({
      BACKUP_VMID: "2320",
      BACKUP_HOST: "pve",
      OUTCOME_SECRETS: file,
      NOTIFY_SECONDS: "30",
      ...settings,
    });
  }

  /** Runs the program as the unit does. */
  tell(facts: Readonly<Record<string, string>>, args: readonly string[] = ["ended"]): Promise<Outcome> {
    const env = {
      ...this.cluster.env,
      ...facts,
      PATH: `${this.programs}:${this.cluster.env["PATH"]}`,
      BACKUP_ENV: this.settingsFile,
    };
    return start("runuser", ["-u", this.cluster.role, "--", path.join(scripts, "outcome.sh"), ...args], env).outcome;
  }

  /** Samples of a file of metrics, by name and labels. */
  readMetrics(file: string): Map<string, number> {
    const text = fs.readFileSync(path.join(this.metrics, file), "utf8");
    const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    return new Map(
      samples.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
    );
  }
}
