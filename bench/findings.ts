/** What the bench found, as bench/results.json holds it. */
import * as fs from "node:fs";
import * as path from "node:path";
import type { Cost } from "./measure";

/** Rounds of one thing, and how large what it made is. */
export interface Series {
  readonly title: string;
  readonly rounds: readonly Cost[];
  /** What is measured right before it each time, if anything; in runs made until 2026-11-29 the limit. */
  readonly beside?: string;
  /** Seconds of each round, divided by those of what was right before it: machines have slow minutes. */
  readonly ratios?: readonly number[];
  /** Bytes of the backup; 0 where none is kept. */
  readonly bytes: number;
}

/** One database, dumped to nowhere and by the job, rows counted, no off-host copy. */
export interface Scale {
  readonly title: string;
  /** Bytes of the database. */
  readonly size: number;
  readonly tables: number;
  readonly limit: readonly Cost[];
  readonly job: readonly Cost[];
}

/** Seconds of each round. */
export interface Restores {
  /** createdb and `pg_restore` with the options that restore.sh gives it. */
  readonly raw: readonly number[];
  /** `restore.sh --new`, its verification left out. */
  readonly restore: readonly number[];
  /** The drill, its verification left out. */
  readonly drill: readonly number[];
  /** Verification against the manifest. */
  readonly verify: readonly number[];
}

export interface Run {
  /** ISO 8601, UTC. */
  readonly date: string;
  readonly machine: string;
  /** Of the container. */
  readonly debian: string;
  readonly postgres: string;
  readonly compression: string;
  /** Bytes of the database. */
  readonly size: number;
  readonly backups: Readonly<Record<string, Series>>;
  /** One signed PUT of the finished dump, checked by the server. */
  readonly put: readonly Cost[];
  readonly scales: readonly Scale[];
  readonly restores: Restores;
}

/** How many times as long one thing took as another. */
export interface Ratio {
  readonly median: number;
  /** Lowest and highest, where the one was measured right after the other. */
  readonly range?: readonly [number, number];
}

/** The ratio of what is called `name` to what is called `other`. */
export function compareTo(other: string, name: string, backups: Run["backups"]): Ratio {
  const seconds = (of: string): number => median((backups[of]?.rounds ?? []).map((each) => each.seconds));
  const { ratios = [], beside = "limit" } = backups[name] ?? {};
  if (ratios.length === 0 || beside !== other) return { median: seconds(name) / seconds(other) };
  return { median: median(ratios), range: [Math.min(...ratios), Math.max(...ratios)] };
}

/** Runs by Debian's release. */
export type Results = Readonly<Record<string, Run>>;

const file = path.join(__dirname, "results.json");

export function readResults(): Results {
  return fs.existsSync(file) ? (JSON.parse(fs.readFileSync(file, "utf8")) as Results) : {};
}

export function writeResults(results: Results): void {
  fs.writeFileSync(`${file}.partial`, `${JSON.stringify(results, undefined, 1)}\n`);
  fs.renameSync(`${file}.partial`, file);
}

/** The middle one; of an even number, the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low = NaN, high = NaN] = [sorted[Math.ceil(sorted.length / 2) - 1], sorted[middle]];
  return (low + high) / 2;
}
