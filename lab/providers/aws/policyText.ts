import { equal, isObject, Value } from "../protocol/values";

/** Whether two policy documents say the same: order of keys, white space and one-element lists aside. */
export function samePolicy(property: string, before: Value, after: Value): boolean {
  if (property !== "policy" || typeof before !== "string" || typeof after !== "string") return false;
  try {
    return equal(plain(JSON.parse(before) as Value), plain(JSON.parse(after) as Value));
  } catch {
    return false;
  }
}

function plain(value: Value): Value {
  if (Array.isArray(value)) {
    const [only] = value;
    return value.length === 1 && only !== undefined && !isObject(only) ? plain(only) : value.map(plain);
  }
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
