/** docs/bench.md and its charts, rendered from bench/results.json: `npm run bench -- --report` without measuring anew. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Cost } from "./measure";
import { compareTo, median, readResults, type Ratio, type Results, type Run, type Scale } from "./findings";

const docs = join(__dirname, "../docs");

const seconds = (rounds: readonly Cost[]): number => median(rounds.map((each) => each.seconds));
const cpu = (rounds: readonly Cost[]): number => median(rounds.map((each) => each.cpuSeconds));
/** The median of those that were measured; nothing if none was. */
const medianIfAny = (values: readonly (number | undefined)[]): string => {
  const measured = values.flatMap((each) => each ?? []);
  return measured.length === 0 ? "" : median(measured).toFixed(1);
};
const serverCpu = (rounds: readonly Cost[]): string => medianIfAny(rounds.map((each) => each.serverCpuSeconds));
const joining = (rounds: readonly Cost[]): string => medianIfAny(rounds.map((each) => each.joiningSeconds));
const memory = (rounds: readonly Cost[]): number => Math.max(...rounds.map((each) => each.peakMemory));
const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
const ratio = (a: number, b: number): string => (a / b).toFixed(2);

/** The median, and the range if there is one. */
function showRatio({ median: middle, range }: Ratio): string {
  if (range === undefined) return middle.toFixed(2);
  return `${middle.toFixed(2)} (${range.map((each) => each.toFixed(2)).join(" to ")})`;
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(heads), line(heads.map((_, at) => (at === 0 ? "---" : "--:"))), ...rows.map(line)].join("\n");
}

function renderBackups({ backups }: Run): string {
  const rows = Object.entries(backups).map(([name, series]) => [
    series.title,
    seconds(series.rounds).toFixed(1),
    showRatio(compareTo("limit", name, backups)),
    cpu(series.rounds).toFixed(1),
    mebibytes(memory(series.rounds)),
    series.bytes === 0 ? "" : (series.bytes / 1e6).toFixed(1),
  ]);
  return table(["backup of the 1 GB database", "s", "× limit", "CPU s", "peak MiB", "MB"], rows);
}

function renderOffHost({ backups, put }: Run): string {
  const rounds = (name: string): readonly Cost[] => backups[name]?.rounds ?? [];
  const [job, together, gzip] = [rounds("job"), rounds("job-s3"), rounds("gzip")];
  const alone = seconds(put);
  const overSlower = seconds(job) > alone ? compareTo("job", "job-s3", backups) : { median: seconds(together) / alone };
  return table(
    [
      "until a checked copy is in S3",
      "s",
      "× the slower of dump and copy alone",
      "of it, the S3 server joins the parts, s",
      "CPU s",
      "the S3 server's CPU s",
    ],
    [
      [
        "one signed, checked PUT of the finished dump, alone",
        alone.toFixed(1),
        "",
        "",
        cpu(put).toFixed(1),
        serverCpu(put),
      ],
      [
        "this job, dump and copy",
        seconds(together).toFixed(1),
        showRatio(overSlower),
        joining(together),
        cpu(together).toFixed(1),
        serverCpu(together),
      ],
      ["`pg_dump \\| gzip -9`, then such a PUT", (seconds(gzip) + alone).toFixed(1), "", "", "", ""],
    ],
  );
}

function renderScales(scales: readonly Scale[]): string {
  const rows = scales.map(({ title, size, tables, limit, job }) => {
    const pairs = job.map((each, round) => [each.seconds, limit[round]?.seconds ?? NaN] as const);
    return [
      title,
      (size / 1e6).toFixed(0),
      String(tables),
      seconds(limit).toFixed(2),
      seconds(job).toFixed(2),
      median(pairs.map(([own, other]) => own - other)).toFixed(2),
      median(pairs.map(([own, other]) => own / other)).toFixed(2),
      mebibytes(memory(job)),
    ];
  });
  return table(["database", "MB", "tables", "limit s", "job s", "more s", "× limit", "job's peak MiB"], rows);
}

function renderRestores({ restores: { raw, restore, drill, verify } }: Run): string {
  const limit = median(raw);
  const row = (title: string, values: readonly number[]): string[] => [
    title,
    median(values).toFixed(1),
    ratio(median(values), limit),
  ];
  return table(
    ["restore of the 1 GB database", "s", "× pg_restore"],
    [
      row("`createdb`, `pg_restore`, same options", raw),
      row("restore.sh: SHA-256, checks, restore; without its verification", restore),
      row("the drill: server made, restore, server thrown away; without its verification", drill),
      row("verification: rows, keys, structure", verify),
    ],
  );
}

function renderRun(release: string, run: Run): string {
  const rounds = run.put.length;
  return `## ${run.debian}, PostgreSQL ${run.postgres.split(" ")[0]}, ${run.compression}

${run.date.slice(0, 10)}, ${run.machine}. Medians of ${rounds} interleaved
rounds, peak memory the largest of them; the database has ${(run.size / 1e6).toFixed(0)} MB.

${renderBackups(run)}

![seconds per backup](bench-${release}.svg)

${renderOffHost(run)}

${renderScales(run.scales)}

${renderRestores(run)}
`;
}

/** docs/bench.md as the results have it. */
export function renderReport(results: Results): string {
  return `# What it costs

Made by \`npm run bench\`, which writes [bench/results.json](../bench/results.json) and, from it, this page. Everything
runs in a container of the lab, as a service of its own; what is compared takes turns. From 2026-11-29, what is near
another thing is measured right after it each time, and its ratio is the median of those, their range in parentheses: a
narrow one is of a quiet machine. And the S3 server is versitygw, before that moto, which takes more of the processor. It
runs on the same two cores, and takes its share of them; of an upload's parts it makes an object by copying them, while the
job has nothing else left to do. CPU is that of the whole container, the database server's included; peak memory is that of
the backup's own processes, without page cache. pgBackRest copies files, write-ahead log included, and is no logical dump;
borgmatic's borg repository is new in each round, so nothing is deduplicated.

${Object.entries(results)
  .map(([release, run]) => renderRun(release, run))
  .join("\n")}`;
}

/** Horizontal bars: seconds per backup, the job's darker. */
export function renderChart({ backups }: Run): string {
  const bars = Object.entries(backups).map(([name, { rounds }]) => ({ name, value: seconds(rounds) }));
  const longest = Math.max(...bars.map(({ value }) => value));
  const lines = bars.map(({ name, value }, at) => {
    const y = 8 + at * 26;
    const width = ((value / longest) * 420).toFixed(1);
    const colour = name.startsWith("job") ? "#1f6f5c" : name === "limit" ? "#8a8f98" : "#c2cad3";
    return `<text x="150" y="${y + 14}" text-anchor="end">${name}</text>
<rect x="158" y="${y}" width="${width}" height="18" fill="${colour}"/>
<text x="${(164 + Number(width)).toFixed(1)}" y="${y + 14}">${value.toFixed(1)} s</text>`;
  });
  const height = 12 + bars.length * 26;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="${height}" font-family="sans-serif" font-size="12">
<rect width="640" height="${height}" fill="white"/>
${lines.join("\n")}
</svg>
`;
}

export function writeReport(): void {
  const results = readResults();
  writeFileSync(join(docs, "bench.md"), renderReport(results));
  for (const [release, run] of Object.entries(results)) writeFileSync(chartFile(release), renderChart(run));
}

/** Whether docs/ holds what the results say, and nothing where there are none. */
export function reportIsCurrent(): boolean {
  const results = readResults();
  if (Object.keys(results).length === 0) return !existsSync(join(docs, "bench.md"));
  return (
    readFileSync(join(docs, "bench.md"), "utf8") === renderReport(results) &&
    Object.entries(results).every(([release, run]) => readFileSync(chartFile(release), "utf8") === renderChart(run))
  );
}

function chartFile(release: string): string {
  return join(docs, `bench-${release}.svg`);
}
