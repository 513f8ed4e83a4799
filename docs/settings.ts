/** Writes the settings table of README.md from the schema in Pulumi.yaml: `npm run docs`. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

interface Setting {
  readonly type: string;
  readonly description: string;
  readonly default?: unknown;
}

const root = join(__dirname, "..");
const readme = join(root, "README.md");
const MARKS = ["<!-- settings: made by `npm run docs` -->", "<!-- end of settings -->"] as const;

/** README.md with the table as the schema has it now. */
export function renderReadme(): string {
  const { config } = parse(readFileSync(join(root, "Pulumi.yaml"), "utf8")) as { config: Record<string, Setting> };
  const rows = Object.entries(config).map(
    ([key, setting]) => `| \`${key}\` | ${showDefault(setting)} | ${inCell(setting.description)} |`,
  );
  const table = ["| setting | default | meaning |", "| --- | --- | --- |", ...rows].join("\n");
  const [before = "", rest = ""] = readFileSync(readme, "utf8").split(MARKS[0]);
  const [, after = ""] = rest.split(MARKS[1]);
  return `${before}${MARKS[0]}\n\n${table}\n\n${MARKS[1]}${after}`;
}

function showDefault({ default: value }: Setting): string {
  if (value === undefined) return "required";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text === "" ? "not set" : `\`${text}\``;
}

function inCell(text: string): string {
  return text.trim().replaceAll("|", "\\|").replaceAll(/\s+/g, " ");
}

if (require.main === module) writeFileSync(readme, renderReadme());
