import { shellString } from "./quote";

/** A setting of backup.env: a word, a whole number, or a list of words. */
export type EnvironmentValue = string | number | readonly string[];

/**
 * Renders a file of settings that bash sources, a setting a line, each with the comment that explains it.
 *
 * @param heading First line of the file, without the `#`.
 */
export function renderEnvironment(heading: string, settings: readonly [string, EnvironmentValue, string?][]): string {
  const lines = settings.flatMap(([key, value, comment]) => [
    ...(comment === undefined ? [] : [`# ${comment}`]),
    `${key}=${renderValue(value)}`,
  ]);
  return [`# ${heading}`, ...lines, ""].join("\n");
}

function renderValue(value: EnvironmentValue): string {
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return shellString(value);
  if (value.length === 0) return "()";
  return `(\n${value.map((word) => `  ${shellString(word)}\n`).join("")})`;
}
