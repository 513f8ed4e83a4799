import * as pulumi from "@pulumi/pulumi";

/** Says what would be right where a value is wrong; undefined where it is right. */
export type Check = (value: string) => string | undefined;

/** The check that a value matches a pattern. */
export function matches(pattern: RegExp, right: string): Check {
  return (value) => (pattern.test(value) ? undefined : right);
}

const HIDDEN = "(not shown: it is a secret)";

/**
 * Reads settings one by one and collects what is wrong with them, so that one message can list it all. A wrong value
 * reads as an empty one until `throwProblems`.
 */
export class SettingsReader {
  private readonly read = new Set<string>();

  private constructor(
    private readonly values: Readonly<Record<string, unknown>>,
    private readonly path: string,
    private readonly problems: string[],
    /** Whether the stack's file has this setting encrypted. */
    private readonly isEncrypted: (key: string) => boolean,
    private readonly fallback?: SettingsReader,
  ) {}

  /** A reader of the stack's configuration in a namespace, `<namespace>:<key>`. */
  static ofStack(namespace: string): SettingsReader {
    const prefix = `${namespace}:`;
    const values: [string, unknown][] = Object.entries(pulumi.runtime.allConfig())
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [key.slice(prefix.length), value]);
    return new SettingsReader(Object.fromEntries(values), prefix, [], (key) => isConfigSecret(prefix + key));
  }

  /** This reader without the one it inherits from: for settings that each entry has to give itself. */
  own(key: string): SettingsReader {
    this.read.add(key);
    return new SettingsReader(this.values, this.path, this.problems, this.isEncrypted);
  }

  get isEmpty(): boolean {
    return Object.keys(this.values).length === 0;
  }

  has(key: string): boolean {
    return this.raw(key) !== undefined;
  }

  /** A text that matches a pattern. */
  text(key: string, pattern: RegExp, right: string): string {
    return this.check(key, matches(pattern, right));
  }

  /** A text, or undefined where it is empty: "not set". */
  optionalText(key: string, pattern: RegExp, right: string): string | undefined {
    return this.optional(key, matches(pattern, right));
  }

  /** A text that passes a check, or undefined where it is empty: "not set". */
  optional(key: string, check: Check): string | undefined {
    const value = this.raw(key);
    return value === undefined || value === "" ? undefined : this.check(key, check);
  }

  /** As `optional`, but encrypted in the stack's file; its value never appears in a message. */
  optionalSecret(key: string, check: Check): string | undefined {
    const value = this.raw(key);
    if (value === undefined || value === "") return undefined;
    const right = typeof value === "string" ? check(value) : "a text";
    if (right !== undefined) this.problem(key, HIDDEN, right);
    this.refusePlain(key);
    return right === undefined && typeof value === "string" ? value : "";
  }

  private refusePlain(key: string): void {
    if (this.values[key] === undefined) this.fallback?.refusePlain(key);
    else if (!this.isEncrypted(key)) {
      this.problem(key, HIDDEN, "an encrypted value: `pulumi config set --secret`");
    }
  }

  check(key: string, check: Check): string {
    const value = this.raw(key);
    if (value === undefined) {
      this.problem(key, undefined, check("") ?? "a text");
      return "";
    }
    const right = typeof value === "string" ? check(value) : "a text";
    if (right === undefined && typeof value === "string") return value;
    this.problem(key, value, right ?? "a text");
    return "";
  }

  /** One of a few words, the first of which stands for a wrong one. */
  choice<T extends string>(key: string, words: readonly [T, ...T[]]): T {
    const value = this.raw(key);
    const [first] = words;
    const found = words.find((word) => word === value);
    if (found === undefined) this.problem(key, value, `one of ${words.join(", ")}`);
    return found ?? first;
  }

  integer(key: string, least: number, most: number): number {
    const value = this.raw(key);
    const number = typeof value === "string" && /^-?\d+$/.test(value) ? Number(value) : value;
    if (typeof number === "number" && Number.isInteger(number) && number >= least && number <= most) return number;
    this.problem(key, value, `a whole number from ${least} to ${most}`);
    return 0;
  }

  flag(key: string): boolean {
    const value = this.raw(key);
    if (value === true || value === "true") return true;
    if (value !== false && value !== "false") this.problem(key, value, "true or false");
    return false;
  }

  /** A list of texts without repetitions. */
  list(key: string, check: Check): string[] {
    const texts: string[] = [];
    for (const item of this.array(key)) {
      const right = typeof item === "string" ? check(item) : "a text";
      if (typeof item === "string" && right === undefined && !texts.includes(item)) texts.push(item);
      else this.problem(key, item, right ?? "each entry once");
    }
    return texts;
  }

  object(key: string): SettingsReader {
    const value = parse(this.raw(key) ?? {});
    const encrypted = () => this.isEncrypted(key);
    if (isObject(value)) return new SettingsReader(value, `${this.path}${key}.`, this.problems, encrypted);
    this.problem(key, value, "an object of settings");
    return new SettingsReader({}, `${this.path}${key}.`, this.problems, encrypted);
  }

  /** A list of objects; each reads from this reader what it does not say itself, unless `inherit` is false. */
  entries(key: string, { inherit = true }: { inherit?: boolean } = {}): SettingsReader[] {
    return this.array(key).flatMap((item, index) => {
      const path = `${this.path}${key}[${index}].`;
      const encrypted = () => this.isEncrypted(key);
      if (isObject(item)) return [new SettingsReader(item, path, this.problems, encrypted, inherit ? this : undefined)];
      this.problem(`${key}[${index}]`, item, "an object of settings");
      return [];
    });
  }

  problem(key: string, value: unknown, right: string): void {
    const shown = this.isEncrypted(key) && value !== undefined && value !== "" ? HIDDEN : value;
    const found = shown === undefined ? "is not set" : `is ${JSON.stringify(shown)}`;
    this.problems.push(`${this.path}${key} ${found}; right would be ${right}.`);
  }

  /** Finds settings that nobody asked for: misspelt ones. */
  refuseUnread(): void {
    for (const key of Object.keys(this.values)) {
      if (this.read.has(key)) continue;
      this.problem(key, this.values[key], `no such setting; there are ${[...this.read].sort().join(", ")}`);
    }
  }

  throwProblems(): void {
    const unique = [...new Set(this.problems)];
    if (unique.length > 0) throw new pulumi.RunError(unique.join("\n"));
  }

  private array(key: string): unknown[] {
    const value = parse(this.raw(key) ?? []);
    if (Array.isArray(value)) return value as unknown[];
    this.problem(key, value, "a list");
    return [];
  }

  private raw(key: string): unknown {
    this.read.add(key);
    return this.values[key] ?? this.fallback?.raw(key);
  }
}

/**
 * Whether the engine says that it decrypted this key. The function is in every SDK, but not in its types: without it
 * nothing could be refused, so its absence is an error.
 */
function isConfigSecret(key: string): boolean {
  return (pulumi.runtime as unknown as { isConfigSecret(key: string): boolean }).isConfigSecret(key);
}

/** Lists and objects reach a program as JSON. */
function parse(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
