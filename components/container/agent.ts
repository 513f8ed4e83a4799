import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Where the agent stands in the container. */
export const AGENT_PATH = "/usr/local/lib/pgbackup/agent";

const PARTS = [
  "main",
  "file",
  "directory",
  "tree",
  "account",
  "packages",
  "unit",
  "roleFacts",
  "role",
  "audit",
  "probe",
  "dispatch",
];

/** The agent's text: one bash program, put together from `agent/*.sh`. */
export const AGENT = PARTS.map((part) => readFileSync(join(__dirname, "agent", `${part}.sh`), "utf8")).join("\n");
