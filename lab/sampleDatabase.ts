/** The sample database: users, events and expenses of a made-up trade-show team; the same rows every time. */
import * as fs from "node:fs";
import { CommandError } from "./command";
import type { Container } from "./container";
import { source } from "./places";

export interface SampleDatabase {
  /** Name of the database. */
  readonly database: string;
  /** Role that owns it and everything in it, and that the application logs in as. Default: expense_app. */
  readonly owner?: string;
  /** Rows in the largest table. Default: 200,000. */
  readonly expenses?: number;
}

/** Makes owner and database, unless the database is there. Roughly 3 s for 200,000 expenses on two cores. */
export async function createSampleDatabase(container: Container, sample: SampleDatabase): Promise<void> {
  const { database, owner = "expense_app", expenses = 200_000 } = sample;
  const variables = { database, owner, expenses: String(expenses) };
  const set = Object.entries(variables).flatMap(([name, value]) => ["--set", `${name}=${value}`]);
  const argv = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", ...set, "--dbname", "postgres"];
  const input = fs.readFileSync(source("sampleDatabase.sql"), "utf8");
  const result = await container.exec(argv, { user: "postgres", input });
  if (result.code !== 0) throw new CommandError(argv, result);
}
