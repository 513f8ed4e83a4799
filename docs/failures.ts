/** The failure table of docs/failures.md: written and compared by test/lab/faults, from what was seen there. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What was seen of one fault. */
export interface FailureRow {
  readonly fault: string;
  /** Exit status of the service. */
  readonly status: string;
  /** Errors and warnings in the journal. */
  readonly lines: readonly string[];
  /** What became of its dump; `off-host` means all targets. */
  readonly tonight: "none" | "only here" | "s3 alone" | "nas alone" | "off-host";
  /** Errors and warnings of the next night. */
  readonly next: readonly string[];
}

export interface FailureGroup {
  readonly title: string;
  readonly faults: readonly string[];
}

const file = join(__dirname, "failures.md");
const MARKS = ["<!-- made by `npm run docs:failures` -->", "<!-- end of the table -->"] as const;
const HEAD = [
  "| fault | exit status | what the operator sees | tonight's dump | the next night |",
  "| --- | --- | --- | --- | --- |",
];

const TONIGHT: Readonly<Record<FailureRow["tonight"], string>> = {
  none: "none",
  "only here": "verified, not off-host yet",
  "s3 alone": "verified, in the bucket, not on the NAS yet",
  "nas alone": "verified, on the NAS, not in the bucket yet",
  "off-host": "verified, off-host",
};

export class Document {
  private readonly before: string;
  private readonly after: string;
  private readonly found: FailureGroup[] = [];
  /** By name of the fault. */
  private readonly rows = new Map<string, string>();

  constructor() {
    const [before = "", rest = ""] = readFileSync(file, "utf8").split(MARKS[0]);
    const [tables = "", after = ""] = rest.split(MARKS[1]);
    this.before = before;
    this.after = after;
    for (const section of tables.split(/^## /m).slice(1)) {
      const [title = "", ...lines] = section.split("\n");
      const faults = lines.filter((line) => line.startsWith("|") && !HEAD.includes(line));
      for (const line of faults) this.rows.set(nameOf(line), line);
      this.found.push({ title, faults: faults.map(nameOf) });
    }
  }

  /** One fault's line of the table. */
  static render({ fault, status, lines, tonight, next }: FailureRow): string {
    const then = next.length === 0 ? "recovers" : `recovers, and says ${showLines(next)}`;
    return `| ${[fault, status, showLines(lines) || (status === "0" ? "nothing: all is well" : "nothing"), TONIGHT[tonight], then].join(" | ")} |`;
  }

  /** The line of a fault, `undefined` if it has none. */
  line(fault: string): string | undefined {
    return this.rows.get(fault);
  }

  /** What a line says beside messages, whose wording depends on the moment: its exit status and what became of the dump. */
  static outline(line: string | undefined): string {
    const cells = line?.split(/(?<!\\) \| /) ?? [];
    return [cells[1], cells[3]].join(" | ");
  }

  /** The faults that have a line, by their headings. */
  groups(): readonly FailureGroup[] {
    return this.found;
  }

  /** Writes a fault's line; at once, since a run may be cut off. */
  set(row: FailureRow): void {
    this.rows.set(row.fault, Document.render(row));
    this.write();
  }

  /** Writes the lines of these faults, in this order, as far as they have been seen. */
  arrange(groups: readonly FailureGroup[]): void {
    this.found.splice(0, this.found.length, ...groups);
    this.write();
  }

  private write(): void {
    const tables = this.found.map(({ title, faults }) => {
      const lines = faults.map((fault) => this.rows.get(fault)).filter((line) => line !== undefined);
      return [`## ${title}\n`, ...HEAD, ...lines].join("\n");
    });
    writeFileSync(file, `${this.before}${MARKS[0]}\n\n${tables.join("\n\n")}\n\n${MARKS[1]}${this.after}`);
  }
}

function nameOf(line: string): string {
  return line.split(" | ")[0]?.slice(2) ?? "";
}

/** As code, one line each: what a cell of a table can hold. */
function showLines(lines: readonly string[]): string {
  return lines.map((line) => `\`${line.replaceAll("|", "\\|").replaceAll("`", "'")}\``).join("<br>");
}
