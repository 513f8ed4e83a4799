/** Writes docs/settings.md from the schema in Pulumi.yaml: `npm run docs`. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

interface Setting {
  readonly type: string;
  readonly description: string;
  readonly default?: unknown;
}

const root = join(__dirname, "..");
export const settingsPage = join(__dirname, "settings.md");

/** docs/settings.md as the schema has it now. */
export function renderSettingsPage(): string {
  const { config } = parse(readFileSync(join(root, "Pulumi.yaml"), "utf8")) as { config: Record<string, Setting> };
  const rows = Object.entries(config).map(
    ([key, setting]) => `| \`${key}\` | ${showDefault(setting)} | ${inCell(setting.description)} |`,
  );
  return `# Settings

Set with \`pulumi config set <setting> <value>\` (\`--secret\` for a secret, \`--path\` for a list), or in
\`Pulumi.<stack>.yaml\` as \`pgbackup:<setting>\`. Made by \`npm run docs\` from Pulumi.yaml.

${["| setting | default | meaning |", "| --- | --- | --- |", ...rows].join("\n")}
`;
}

function showDefault({ default: value }: Setting): string {
  if (value === undefined) return "required";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text === "" ? "not set" : `\`${text}\``;
}

function inCell(text: string): string {
  return text.trim().replaceAll("|", "\\|").replaceAll(/\s+/g, " ");
}

if (require.main === module) writeFileSync(settingsPage, renderSettingsPage());
