/** What travels between engine and plugin: plain JSON, in which an unknown value of a preview is a fixed string. */
export type Value = string | number | boolean | null | Value[] | { [key: string]: Value };
export type Props = { [key: string]: Value };

/** Stands for a value that is not known before the deployment (pulumi sdk/go/common/resource/plugin/rpc.go). */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

/** Marks a value that the provider itself makes up, such as a generated key, as secret. */
export const secret = (value: Value): Value => ({ [SIGNATURE]: SECRET, value });

/** The value without its marks: the provider's own configuration arrives with them, whatever was agreed on. */
export function unwrap(value: Value): Value {
  if (Array.isArray(value)) return value.map(unwrap);
  if (!isObject(value)) return value;
  if (value[SIGNATURE] === SECRET) return unwrap(value.value ?? null);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unwrap(inner)]));
}

export function isObject(value: unknown): value is { [key: string]: Value } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A property as a string; undefined where it is absent or not known yet. */
export const text = (value: Value | undefined): string | undefined =>
  typeof value === "string" && value !== UNKNOWN ? value : undefined;

export const number = (value: Value | undefined): number | undefined => (typeof value === "number" ? value : undefined);

export const flag = (value: Value | undefined): boolean | undefined => (typeof value === "boolean" ? value : undefined);

export const list = (value: Value | undefined): Value[] => (Array.isArray(value) ? value : []);

export const object = (value: Value | undefined): Props => (isObject(value) ? value : {});

/** A property that cannot be missing once `check` has passed. */
export function required(props: Props, key: string): string {
  const value = text(props[key]);
  if (value === undefined) throw new Error(`Missing required property '${key}'`);
  return value;
}

/** Drops what is null, and objects that are empty then, at every level: to an API both mean "not set". */
export function prune(value: Value): Value {
  if (Array.isArray(value)) return value.map(prune);
  if (!isObject(value)) return value;
  const kept = Object.entries(value)
    .map(([key, inner]) => [key, prune(inner)] as const)
    .filter(([, inner]) => inner !== null && !(isObject(inner) && Object.keys(inner).length === 0));
  return Object.fromEntries(kept);
}

export function equal(a: Value | undefined, b: Value | undefined): boolean {
  return differences(a ?? null, b ?? null).length === 0;
}

export type Change = "add" | "delete" | "update";

/** Every leaf in which two values differ, with its path as the engine writes them: `connection.port`, `rules[0].id`. */
export function differences(
  before: Value | undefined,
  after: Value | undefined,
  path = "",
): { path: string; change: Change }[] {
  if (isObject(before) && isObject(after)) {
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) =>
      differences(before[key], after[key], path + step(key, path)),
    );
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    return Array.from({ length: Math.max(before.length, after.length) }, (_, i) => i).flatMap((i) =>
      differences(before[i], after[i], `${path}[${i}]`),
    );
  }
  const [was, is] = [before ?? null, after ?? null];
  if (was === is) return [];
  return [{ path, change: was === null ? "add" : is === null ? "delete" : "update" }];
}

const step = (key: string, path: string): string =>
  /^[A-Za-z_$][\w$]*$/.test(key) ? (path === "" ? key : `.${key}`) : `[${JSON.stringify(key)}]`;
